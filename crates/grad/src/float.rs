//! Float tensors of any rank on a backend.

use burn_backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn_backend::{Backend, DType, Shape, Slice, TensorData, TensorMetadata, read_sync};

use crate::axes::broadcast;
use bitquake_graph::plan::Ints;

/// A float tensor of any rank.
///
/// Backends know no rank 0: a scalar is held as one element of rank 1, and marked. Methods that return no `Result` trust
/// the caller to have checked axes and shapes.
#[derive(Clone, Debug)]
pub(crate) struct Float<B: Backend> {
    primitive: FloatTensor<B>,
    is_scalar: bool,
}

impl<B: Backend> Float<B> {
    pub(crate) fn new(primitive: FloatTensor<B>) -> Float<B> {
        Float { primitive, is_scalar: false }
    }

    /// Values on a device; `values` has as many elements as `shape` says.
    pub(crate) fn from_host(values: Vec<f32>, shape: &[usize], device: &B::Device) -> Float<B> {
        let is_scalar = shape.is_empty();
        let dims = if is_scalar { vec![1] } else { shape.to_vec() };
        let primitive = B::float_from_data(TensorData::new(values, Shape::from(dims)), device);
        Float { primitive, is_scalar }
    }

    /// One value everywhere.
    pub(crate) fn full(value: f32, shape: &[usize], device: &B::Device) -> Float<B> {
        Float::from_host(vec![value; shape.iter().product()], shape, device)
    }

    /// The values, row-major; the backend's message if it fails.
    pub(crate) fn to_host(&self) -> Result<Vec<f32>, String> {
        let data = read_sync(B::float_into_data(self.primitive.clone()));
        let data = data.map_err(|error| format!("{error:?}"))?;
        data.try_into_vec::<f32>().map_err(|error| format!("{error:?}"))
    }

    pub(crate) fn primitive(&self) -> &FloatTensor<B> {
        &self.primitive
    }

    pub(crate) fn into_primitive(self) -> FloatTensor<B> {
        self.primitive
    }

    /// A change of each value.
    pub(crate) fn map(self, change: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>) -> Float<B> {
        Float { primitive: change(self.primitive), is_scalar: self.is_scalar }
    }

    pub(crate) fn device(&self) -> B::Device {
        self.primitive.device()
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        if self.is_scalar { Vec::new() } else { self.primitive.shape().to_vec() }
    }

    pub(crate) fn rank(&self) -> usize {
        if self.is_scalar { 0 } else { self.primitive.rank() }
    }

    pub(crate) fn elements(&self) -> usize {
        self.primitive.shape().iter().product()
    }

    /// The same values in the same order in another shape of as many elements.
    pub(crate) fn reshape(self, shape: &[usize]) -> Float<B> {
        let is_scalar = shape.is_empty();
        let dims = if is_scalar { vec![1] } else { shape.to_vec() };
        if self.primitive.shape().to_vec() == dims {
            return Float { primitive: self.primitive, is_scalar };
        }
        Float { primitive: B::float_reshape(self.primitive, Shape::from(dims)), is_scalar }
    }

    pub(crate) fn permute(self, axes: &[usize]) -> Float<B> {
        if self.is_scalar || axes.iter().enumerate().all(|(place, &axis)| place == axis) {
            return self;
        }
        Float::new(B::float_permute(self.primitive, axes))
    }

    /// Repeated to a shape that it broadcasts to.
    pub(crate) fn expand(self, shape: &[usize]) -> Float<B> {
        if self.shape() == shape {
            return self;
        }
        let mut dims = vec![1; shape.len() - self.rank()];
        dims.extend(self.shape());
        let aligned = self.reshape(&dims);
        Float::new(B::float_expand(aligned.primitive, Shape::from(shape.to_vec())))
    }

    /// The elements from `start` on, `count` of them, `step` apart (below 0: backwards), of each axis.
    pub(crate) fn slice(self, slices: &[Slice]) -> Float<B> {
        Float::new(B::float_slice(self.primitive, slices))
    }

    /// The part `start..end` of one axis.
    pub(crate) fn narrow(self, axis: usize, start: usize, end: usize) -> Float<B> {
        let mut slices: Vec<Slice> = self.shape().iter().map(|&size| Slice::from(0..size)).collect();
        slices[axis] = Slice::from(start..end);
        self.slice(&slices)
    }

    pub(crate) fn scale(self, factor: f64) -> Float<B> {
        self.map(|x| B::float_mul_scalar(x, factor.into()))
    }

    pub(crate) fn shift(self, summand: f64) -> Float<B> {
        self.map(|x| B::float_add_scalar(x, summand.into()))
    }

    /// Sums along axes, which stay with size 1.
    pub(crate) fn sum(self, axes: &[usize]) -> Float<B> {
        axes.iter().fold(self, |x, &axis| x.map(|x| B::float_sum_dim(x, axis)))
    }

    /// Sums everything, to one element.
    pub(crate) fn sum_all(self) -> Float<B> {
        Float { primitive: B::float_sum(self.primitive), is_scalar: true }
    }

    /// Means along axes, which stay with size 1.
    pub(crate) fn mean(self, axes: &[usize]) -> Float<B> {
        let shape = self.shape();
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        self.sum(axes).scale(1.0 / count as f64)
    }

    /// Without a gradient.
    pub(crate) fn detach(self) -> Float<B> {
        self.map(B::float_detach)
    }

    /// Replaces values where a mask of the same shape is set.
    pub(crate) fn fill(self, mask: BoolTensor<B>, value: f64) -> Float<B> {
        self.map(|x| B::float_mask_fill(x, mask, value.into()))
    }

    /// An operation on two tensors that are broadcast to each other.
    pub(crate) fn pair(
        self,
        other: Float<B>,
        operation: impl FnOnce(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
    ) -> Result<Float<B>, String> {
        let shape = broadcast(&self.shape(), &other.shape())?;
        let (a, b) = (self.align(shape.len()), other.align(shape.len()));
        let primitive = operation(a.primitive, b.primitive);
        Ok(Float { primitive, is_scalar: shape.is_empty() })
    }

    /// Axes of size 1 put in front until there are `rank`.
    fn align(self, rank: usize) -> Float<B> {
        if self.rank() >= rank {
            return self;
        }
        let mut shape = vec![1; rank - self.rank()];
        shape.extend(self.shape());
        self.reshape(&shape)
    }

    pub(crate) fn add(self, other: Float<B>) -> Result<Float<B>, String> {
        self.pair(other, B::float_add)
    }

    pub(crate) fn sub(self, other: Float<B>) -> Result<Float<B>, String> {
        self.pair(other, B::float_sub)
    }

    pub(crate) fn mul(self, other: Float<B>) -> Result<Float<B>, String> {
        self.pair(other, B::float_mul)
    }

    pub(crate) fn div(self, other: Float<B>) -> Result<Float<B>, String> {
        self.pair(other, B::float_div)
    }
}

/// Whole numbers on the device.
pub(crate) fn device_ints<B: Backend>(ints: &Ints, device: &B::Device) -> IntTensor<B> {
    let values: Vec<i32> = ints.values.iter().map(|&value| value as i32).collect();
    let dims = if ints.shape.is_empty() { vec![1] } else { ints.shape.clone() };
    B::int_from_data(TensorData::new(values, Shape::from(dims)), device)
}

/// Truth values on the device.
pub(crate) fn device_bools<B: Backend>(ints: &Ints, device: &B::Device) -> BoolTensor<B> {
    let tensor = device_ints::<B>(ints, device);
    B::int_not_equal_elem(tensor, 0.into(), bool_dtype::<B>(device))
}

/// How a device keeps truth values.
pub(crate) fn bool_dtype<B: Backend>(device: &B::Device) -> burn_backend::BoolDType {
    burn_backend::get_device_settings::<B>(device).bool_dtype
}

/// The type of indices.
pub(crate) const INDEX: DType = DType::I32;
