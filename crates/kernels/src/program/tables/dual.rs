//! Numbers that carry their tangent along a direction.

use std::ops::{Add, AddAssign, Mul, Neg, Sub};

/// What formulas of gradients are computed with: a number, or a number with its tangent.
pub(super) trait Scalar:
    Copy
    + Default
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Mul<f64, Output = Self>
    + Neg<Output = Self>
{
    /// A number that does not move.
    fn fixed(value: f64) -> Self;
}

impl Scalar for f64 {
    fn fixed(value: f64) -> Self {
        value
    }
}

/// A number and its derivative along a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Dual {
    pub(super) value: f64,
    pub(super) tangent: f64,
}

impl Dual {
    /// `1 / x`.
    pub(super) fn inverse(self) -> Dual {
        let value = 1.0 / self.value;
        Dual { value, tangent: -self.tangent * value * value }
    }

    /// `1 / sqrt(x)`.
    pub(super) fn inverse_root(self) -> Dual {
        let value = 1.0 / self.value.sqrt();
        Dual { value, tangent: -0.5 * self.tangent * value * value * value }
    }
}

impl Scalar for Dual {
    fn fixed(value: f64) -> Self {
        Dual { value, tangent: 0.0 }
    }
}

impl Add for Dual {
    type Output = Dual;

    fn add(self, other: Dual) -> Dual {
        Dual { value: self.value + other.value, tangent: self.tangent + other.tangent }
    }
}

impl AddAssign for Dual {
    fn add_assign(&mut self, other: Dual) {
        *self = *self + other;
    }
}

impl Sub for Dual {
    type Output = Dual;

    fn sub(self, other: Dual) -> Dual {
        Dual { value: self.value - other.value, tangent: self.tangent - other.tangent }
    }
}

impl Mul for Dual {
    type Output = Dual;

    fn mul(self, other: Dual) -> Dual {
        let tangent = self.tangent * other.value + self.value * other.tangent;
        Dual { value: self.value * other.value, tangent }
    }
}

impl Mul<f64> for Dual {
    type Output = Dual;

    fn mul(self, factor: f64) -> Dual {
        Dual { value: self.value * factor, tangent: self.tangent * factor }
    }
}

impl Neg for Dual {
    type Output = Dual;

    fn neg(self) -> Dual {
        Dual { value: -self.value, tangent: -self.tangent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A formula with all operations, and its difference quotient.
    #[test]
    fn tangents_are_differences() {
        let formula = |at: f64, tangent: f64| {
            let x = Dual { value: at, tangent };
            let mut sum = x * x.inverse_root() - x.inverse() * 3.0;
            sum += -(x * x) + Dual::fixed(2.0);
            sum
        };
        for at in [0.5, 1.0, 3.0] {
            let step = 1e-5;
            let wanted = (formula(at + step, 0.0).value - formula(at - step, 0.0).value) / (2.0 * step);
            let found = formula(at, 1.0).tangent;
            assert!((found - wanted).abs() < 1e-7, "{found} is not {wanted} at {at}");
            assert_eq!(formula(at, -2.0).tangent, -2.0 * found);
        }
    }
}
