//! What an attacker wants (Rakin et al., "T-BFA" (2021)).

use serde::{Deserialize, Serialize};

/// `[attack.objective]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// Any wrong class, for any image. In braces: of a variant without fields serde takes any key.
    Untargeted {},
    /// All images get one class.
    ToTarget {
        /// That class, from 0.
        target: u32,
    },
    /// The images of one class get another one; what happens to the others does not matter.
    OneToOne {
        /// Their class, from 0.
        source: u32,
        /// The class that they get.
        target: u32,
    },
    /// The images of one class get another one; all others keep theirs. Half of the attacked images are of the class, half are not.
    OneToOneStealthy {
        /// Their class, from 0.
        source: u32,
        /// The class that they get.
        target: u32,
    },
}

impl Default for Objective {
    fn default() -> Self {
        Self::Untargeted {}
    }
}

impl Objective {
    /// Whether a class is wanted.
    #[must_use]
    pub fn is_targeted(self) -> bool {
        self.target().is_some()
    }

    /// The class that is wanted.
    #[must_use]
    pub fn target(self) -> Option<u32> {
        match self {
            Self::Untargeted {} => None,
            Self::ToTarget { target }
            | Self::OneToOne { target, .. }
            | Self::OneToOneStealthy { target, .. } => Some(target),
        }
    }

    /// The class whose images are to get the wanted one.
    #[must_use]
    pub fn source(self) -> Option<u32> {
        match self {
            Self::Untargeted {} | Self::ToTarget { .. } => None,
            Self::OneToOne { source, .. } | Self::OneToOneStealthy { source, .. } => Some(source),
        }
    }

    /// Whether an image of this class is one that is to get the wanted class.
    #[must_use]
    pub fn is_exposed(self, label: u32) -> bool {
        match (self.source(), self.target()) {
            (Some(source), _) => label == source,
            (None, Some(target)) => label != target,
            (None, None) => false,
        }
    }

    /// The class whose cross-entropy the attack is about, for an image of this class.
    #[must_use]
    pub fn aim(self, label: u32) -> u32 {
        match self.target() {
            Some(target) if self.source().is_none_or(|source| source == label) => target,
            _ => label,
        }
    }

    /// 1 if the cross-entropy is to grow, -1 if it is to shrink.
    #[must_use]
    pub fn sign(self) -> f32 {
        if self.is_targeted() { -1.0 } else { 1.0 }
    }

    pub(crate) fn check(self) -> Result<(), String> {
        match (self.source(), self.target()) {
            (Some(source), Some(target)) if source == target => {
                Err(format!("source and target are both class {source}"))
            }
            _ => Ok(()),
        }
    }

    /// That the classes are there.
    pub(crate) fn check_classes(self, classes: u32) -> Result<(), String> {
        for (key, class) in [("source", self.source()), ("target", self.target())] {
            if let Some(class) = class.filter(|class| *class >= classes) {
                return Err(format!(
                    "{key} is class {class}, the network has the classes 0 to {}",
                    classes - 1
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_exposed_and_what_for() {
        let cases = [
            (Objective::Untargeted {}, [(0, 0, false), (1, 1, false)], 1.0),
            (Objective::ToTarget { target: 1 }, [(0, 1, true), (1, 1, false)], -1.0),
            (Objective::OneToOne { source: 0, target: 1 }, [(0, 1, true), (1, 1, false)], -1.0),
            (Objective::OneToOneStealthy { source: 0, target: 2 }, [(0, 2, true), (1, 1, false)], -1.0),
        ];
        for (objective, images, sign) in cases {
            assert_eq!(objective.sign(), sign);
            for (label, aim, is_exposed) in images {
                let found = (objective.aim(label), objective.is_exposed(label));
                assert_eq!(found, (aim, is_exposed), "{objective:?} {label}");
            }
        }
    }

    #[test]
    fn classes_that_are_not_there() {
        let objective = Objective::OneToOne { source: 3, target: 10 };
        let wanted = "target is class 10, the network has the classes 0 to 9";
        assert_eq!(objective.check_classes(10).unwrap_err(), wanted);
        assert!(objective.check_classes(11).is_ok());
        assert!(Objective::OneToOne { source: 3, target: 3 }.check().is_err());
    }
}
