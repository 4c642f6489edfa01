//! The operators that have kernels, one by one.

use bitquake_kernels::Window;
use bitquake_kernels::program::{Arithmetic, Bound, ProgramError, Value, Vector};

use super::{BatchNorm, Image, Known, Lowering};
use crate::plan::Step;
use crate::window::{self, counts};

type Lowered = Result<Known, String>;

/// How an operator becomes part of a program.
type Function = fn(&mut Lowering<'_>, &Step) -> Lowered;

/// The operators that have kernels.
const OPERATORS: &[(&str, Function)] = &[
    ("Conv", convolution),
    ("Gemm", gemm),
    ("MatMul", product),
    ("BatchNormalization", batch_norm),
    ("InstanceNormalization", instance_norm),
    ("GroupNormalization", group_norm),
    ("Relu", |lowering, step| lowering.relu(step)),
    ("Clip", clip),
    ("Add", |lowering, step| lowering.arithmetic(step, Arithmetic::Add)),
    ("Sub", |lowering, step| lowering.arithmetic(step, Arithmetic::Subtract)),
    ("Mul", |lowering, step| lowering.arithmetic(step, Arithmetic::Multiply)),
    ("Div", |lowering, step| lowering.arithmetic(step, Arithmetic::Divide)),
    ("MaxPool", max_pool),
    ("AveragePool", average_pool),
    ("GlobalAveragePool", |lowering, step| lowering.global_pool(step, false)),
    ("GlobalMaxPool", |lowering, step| lowering.global_pool(step, true)),
    ("Flatten", flatten),
    ("Reshape", reshape),
    ("Identity", same),
    ("Dropout", same),
];

/// The names of the operators that have kernels.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|(name, _)| *name)
}

pub(super) fn lower(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let found = OPERATORS.iter().find(|(name, _)| *name == step.op_type);
    let Some((_, function)) = found else { return Err("the operator has no kernel".to_owned()) };
    function(lowering, step)
}

/// A value that the plan sees as the program does.
fn plainly(lowering: &Lowering<'_>, value: Value) -> Known {
    let shape = lowering.program.shape(value);
    Known::Image(Image { value, sizes: vec![shape.channels, shape.height, shape.width] })
}

fn features(lowering: &Lowering<'_>, value: Value) -> Known {
    Known::Image(Image { value, sizes: vec![lowering.program.shape(value).channels] })
}

fn text(error: ProgramError) -> String {
    error.to_string()
}

fn convolution(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.maps(step)?;
    let weight = lowering.parameter(step, 1)?;
    let kernel = lowering.shape(weight).to_vec();
    let groups = usize::try_from(step.attributes.int("group", 1)?).unwrap_or(0);
    let [outputs, inputs, rows, columns] = kernel[..] else {
        return Err(format!("a weight of shape {kernel:?}"));
    };
    if groups == 0 || inputs.checked_mul(groups) != Some(image.sizes[0]) || kernel.contains(&0) {
        return Err(format!("a weight of shape {kernel:?} in {groups} groups on {:?}", image.sizes));
    }
    if step.attributes.ints("kernel_shape")?.is_some_and(|said| said != [rows as i64, columns as i64]) {
        return Err("attribute `kernel_shape` is not the weight's".to_owned());
    }
    let bias = if Lowering::has_input(step, 2) { Some(lowering.parameter(step, 2)?) } else { None };
    if bias.is_some_and(|bias| lowering.shape(bias) != [outputs]) {
        return Err("the bias has another shape".to_owned());
    }
    let window = lowering.window(step, &image, &[rows, columns])?;
    let value = lowering.program.convolution(image.value, outputs, groups, kernels(&window), weight, bias);
    Ok(plainly(lowering, value.map_err(text)?))
}

/// A window as the kernels have it.
fn kernels(window: &window::Window) -> Window {
    Window {
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        pads: window.padding.map(|(begin, end)| [begin, end]),
    }
}

fn gemm(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let attributes = &step.attributes;
    let is_usual = attributes.float("alpha", 1.0)? == 1.0
        && attributes.float("beta", 1.0)? == 1.0
        && attributes.int("transA", 0)? == 0;
    if !is_usual {
        return Err("attributes other than `transB`".to_owned());
    }
    let is_transposed = attributes.int("transB", 0)? != 0;
    let bias = if Lowering::has_input(step, 2) { Some(lowering.parameter(step, 2)?) } else { None };
    lowering.linear(step, is_transposed, bias)
}

fn product(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    lowering.linear(step, false, None)
}

fn batch_norm(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.image(step, 0)?;
    if !lowering.is_plainly(&image) {
        return Err(format!("values of sizes {:?}", image.sizes));
    }
    let [(scale, scales), (shift, shifts)] = [lowering.vector(step, 1)?, lowering.vector(step, 2)?];
    let running = [lowering.parameter(step, 3)?, lowering.parameter(step, 4)?];
    let channels = [image.sizes[0]];
    if scales != channels || shifts != channels || running.iter().any(|&p| lowering.shape(p) != channels) {
        return Err("parameters of other shapes".to_owned());
    }
    let (epsilon, momentum) =
        (step.attributes.float("epsilon", 1e-5)?, step.attributes.float("momentum", 0.9)?);
    let value = lowering.program.batch_norm(image.value, [scale, shift], running, epsilon).map_err(text)?;
    lowering.norms.push(BatchNorm { value, running, momentum });
    Ok(Known::Image(Image { value, ..image }))
}

/// Of an image each channel, of groups of channels each group.
fn instance_norm(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.image(step, 0)?;
    if image.sizes.len() < 2 {
        return Err(format!("values of sizes {:?}", image.sizes));
    }
    let groups = image.sizes[0];
    let shape = lowering.program.shape(image.value);
    if !shape.channels.is_multiple_of(groups) {
        return Err(format!("{groups} groups of {} channels", shape.channels));
    }
    lowering.grouped(step, image, groups, &[groups])
}

fn group_norm(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.maps(step)?;
    let groups = usize::try_from(step.attributes.int("num_groups", 0)?).unwrap_or(0);
    let channels = image.sizes[0];
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(format!("{groups} groups of {channels} channels"));
    }
    lowering.grouped(step, image, groups, &[groups, channels])
}

fn clip(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.image(step, 0)?;
    let mut bound = |place: usize, attribute: &str, default: f32| {
        if !Lowering::has_input(step, place) {
            // The specification has the largest finite numbers where a bound is left out.
            return Ok(Bound::Number(step.attributes.float(attribute, default)?));
        }
        let parameter = lowering.parameter(step, place)?;
        lowering.has_gradient[parameter] = false;
        Ok::<Bound, String>(Bound::Parameter(parameter))
    };
    let bounds = [bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?];
    let value = lowering.program.clip(image.value, bounds).map_err(text)?;
    Ok(Known::Image(Image { value, ..image }))
}

fn max_pool(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.maps(step)?;
    let kernel = window::kernel(&step.attributes, 2)?;
    let window = lowering.window(step, &image, &kernel)?;
    let value = lowering.program.max_pool(image.value, kernels(&window)).map_err(text)?;
    Ok(plainly(lowering, value))
}

fn average_pool(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.maps(step)?;
    let kernel = window::kernel(&step.attributes, 2)?;
    let window = lowering.window(step, &image, &kernel)?;
    let counts_padding = step.attributes.int("count_include_pad", 0)? != 0;
    let said = window::said_padding(&step.attributes, &window, 2)?;
    let divisors = counts(&window, if counts_padding { said } else { [(0, 0); 2] });
    let value = lowering.program.average_pool(image.value, kernels(&window), divisors).map_err(text)?;
    Ok(plainly(lowering, value))
}

fn flatten(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.image(step, 0)?;
    match step.attributes.int("axis", 1)? {
        1 => lowering.view(image, |count| vec![count]),
        axis => Err(format!("attribute `axis` is {axis}")),
    }
}

fn reshape(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.image(step, 0)?;
    if step.attributes.int("allowzero", 0)? != 0 {
        return Err("attribute `allowzero` is set".to_owned());
    }
    let wanted = match step.attributes.ints("shape")? {
        Some(wanted) if !Lowering::has_input(step, 1) => wanted.to_vec(),
        _ => lowering.numbers(step, 1)?.to_vec(),
    };
    let sizes = target(&image.sizes, &wanted).ok_or_else(|| {
        format!("{wanted:?} for values of sizes {:?} is not known to keep the batch", image.sizes)
    })?;
    lowering.view(image, |_| sizes)
}

/// The sizes without the batch, if the batch stays the first axis for any number of images.
fn target(from: &[usize], wanted: &[i64]) -> Option<Vec<usize>> {
    let (&batch, rest) = wanted.split_first()?;
    let elements: usize = from.iter().product();
    let size = |(axis, &size): (usize, &i64)| match size {
        -1 => Some(1),
        0 => from.get(axis).copied(),
        size => usize::try_from(size).ok(),
    };
    let mut sizes = rest.iter().enumerate().map(size).collect::<Option<Vec<usize>>>()?;
    let known = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    let open: Vec<usize> = (0..rest.len()).filter(|&axis| rest[axis] == -1).collect();
    match (batch, &open[..]) {
        (0, &[axis]) if known > 0 && elements.is_multiple_of(known) => sizes[axis] = elements / known,
        (0 | -1, []) if known == elements => {}
        _ => return None,
    }
    Some(sizes)
}

fn same(lowering: &mut Lowering<'_>, step: &Step) -> Lowered {
    let image = lowering.image(step, 0)?;
    let value = lowering.program.same(image.value);
    Ok(Known::Image(Image { value, ..image }))
}

impl Lowering<'_> {
    /// An input of images with height and width.
    fn maps(&self, step: &Step) -> Result<Image, String> {
        let image = self.image(step, 0)?;
        if image.sizes.len() == 3 && self.is_plainly(&image) {
            return Ok(image);
        }
        Err(format!("values of sizes {:?}", image.sizes))
    }

    fn window(&self, step: &Step, image: &Image, kernel: &[usize]) -> Result<window::Window, String> {
        let data = [1, image.sizes[0], image.sizes[1], image.sizes[2]];
        window::window(&step.attributes, &data, kernel, 1)
    }

    fn linear(&mut self, step: &Step, is_transposed: bool, bias: Option<usize>) -> Lowered {
        let image = self.image(step, 0)?;
        let weight = self.parameter(step, 1)?;
        let ([inputs], &[rows, columns]) = (&image.sizes[..], self.shape(weight)) else {
            return Err(format!("{:?} times {:?}", image.sizes, self.shape(weight)));
        };
        let ends = if is_transposed { [columns, rows] } else { [rows, columns] };
        if *inputs != ends[0] || ends[1] == 0 {
            return Err(format!("{:?} times {:?}", image.sizes, self.shape(weight)));
        }
        let is_row = |bias: usize| [&[ends[1]][..], &[1, ends[1]]].contains(&self.shape(bias));
        if bias.is_some_and(|bias| !is_row(bias)) {
            return Err("the bias has another shape".to_owned());
        }
        let value = self.program.linear(image.value, ends[1], weight, is_transposed, bias).map_err(text)?;
        Ok(features(self, value))
    }

    /// A norm of groups; scale and shift have one of these lengths.
    fn grouped(&mut self, step: &Step, image: Image, groups: usize, lengths: &[usize]) -> Lowered {
        let [(scale, scales), (shift, shifts)] = [self.vector(step, 1)?, self.vector(step, 2)?];
        if scales != shifts || scales.len() != 1 || !lengths.contains(&scales[0]) {
            return Err("parameters of other shapes".to_owned());
        }
        let epsilon = step.attributes.float("epsilon", 1e-5)?;
        let value = self.program.group_norm(image.value, groups, [scale, shift], epsilon).map_err(text)?;
        Ok(Known::Image(Image { value, ..image }))
    }

    fn relu(&mut self, step: &Step) -> Lowered {
        let image = self.image(step, 0)?;
        Ok(Known::Image(Image { value: self.program.relu(image.value), ..image }))
    }

    fn global_pool(&mut self, step: &Step, is_max: bool) -> Lowered {
        let image = self.maps(step)?;
        let value = if is_max {
            self.program.global_max(image.value)
        } else {
            self.program.global_average(image.value)
        };
        Ok(plainly(self, value.map_err(text)?))
    }

    /// Other sizes of as many values.
    fn view(&mut self, image: Image, sizes: impl FnOnce(usize) -> Vec<usize>) -> Lowered {
        let shape = self.program.shape(image.value);
        let sizes = sizes(shape.elements());
        let is_row = sizes.len() == 1 && shape.pixels() > 1;
        let value = if is_row { self.program.flatten(image.value) } else { self.program.same(image.value) };
        Ok(Known::Image(Image { value, sizes }))
    }

    /// The sum of two values, or a value and one number for each channel.
    fn arithmetic(&mut self, step: &Step, arithmetic: Arithmetic) -> Lowered {
        let is_image = |place: usize| matches!(self.input(step, place), Some(Known::Image(_)));
        match (is_image(0), is_image(1)) {
            (true, true) if arithmetic == Arithmetic::Add => self.sum(step),
            (true, true) => Err("two values that depend on the images".to_owned()),
            (true, false) => self.channelwise(step, [0, 1], arithmetic),
            (false, true) if matches!(arithmetic, Arithmetic::Add | Arithmetic::Multiply) => {
                self.channelwise(step, [1, 0], arithmetic)
            }
            (false, true) => Err("input 0 does not depend on the images".to_owned()),
            (false, false) if arithmetic == Arithmetic::Add => self.sum_of_parameters(step),
            (false, false) => Err("no input depends on the images".to_owned()),
        }
    }

    fn sum(&mut self, step: &Step) -> Lowered {
        let [left, right] = [self.image(step, 0)?, self.image(step, 1)?];
        if left.sizes != right.sizes {
            return Err(format!("values of sizes {:?} and {:?}", left.sizes, right.sizes));
        }
        let value = self.program.sum(left.value, right.value).map_err(text)?;
        Ok(Known::Image(Image { value, ..left }))
    }

    fn channelwise(
        &mut self,
        step: &Step,
        [of_image, of_vector]: [usize; 2],
        arithmetic: Arithmetic,
    ) -> Lowered {
        let image = self.image(step, of_image)?;
        let (vector, shape) = self.vector(step, of_vector)?;
        let rank = image.sizes.len() + 1;
        let is_number = shape.iter().all(|&size| size == 1) && shape.len() <= rank;
        let fits_channels = self.is_plainly(&image) && is_of_channels(&shape, &image.sizes);
        if !(is_number || fits_channels) {
            return Err(format!("a value of shape {shape:?} with one of sizes {:?}", image.sizes));
        }
        let value = self.program.channelwise(image.value, arithmetic, vector).map_err(text)?;
        Ok(Known::Image(Image { value, ..image }))
    }

    /// A parameter with a number added to each of its floats.
    fn sum_of_parameters(&self, step: &Step) -> Lowered {
        let [left, right] = [self.parameter(step, 0)?, self.parameter(step, 1)?];
        let is_number = |parameter: usize, other: usize| {
            self.plan.parameters[parameter].elements() == 1
                && self.shape(parameter).len() <= self.shape(other).len()
        };
        let (parameter, plus) = if is_number(right, left) {
            (left, right)
        } else if is_number(left, right) {
            (right, left)
        } else {
            return Err("the sum of two parameters".to_owned());
        };
        Ok(Known::Vector(Vector { parameter, plus: Some(plus) }, self.shape(parameter).to_vec()))
    }
}

/// Whether a shape has one number for each channel of an image, or each feature, when it is broadcast.
fn is_of_channels(shape: &[usize], sizes: &[usize]) -> bool {
    let mut wanted = vec![1; sizes.len()];
    wanted[0] = sizes[0];
    shape == wanted || (shape.first() == Some(&1) && shape[1..] == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_that_keep_the_batch() {
        assert_eq!(target(&[4, 2, 2], &[0, 2, -1]), Some(vec![2, 8]));
        assert_eq!(target(&[2, 8], &[0, 4, 2, 2]), Some(vec![4, 2, 2]));
        assert_eq!(target(&[4, 2, 2], &[-1, 16]), Some(vec![16]));
        assert_eq!(target(&[4, 2, 2], &[0, 0, -1]), Some(vec![4, 4]), "a 0 copies the size of its own axis");
        for wanted in [&[-1, 8][..], &[2, -1], &[16], &[], &[-1, -1], &[0, 3, -1], &[0, i64::MAX, i64::MAX]] {
            assert_eq!(target(&[4, 2, 2], wanted), None, "{wanted:?}");
        }
    }

    #[test]
    fn shapes_with_one_number_for_each_channel() {
        for shape in [&[3, 1, 1][..], &[1, 3, 1, 1]] {
            assert!(is_of_channels(shape, &[3, 5, 5]), "{shape:?}");
        }
        for shape in [&[3][..], &[3, 1], &[1, 3, 1], &[2, 3, 1, 1], &[3, 5, 5]] {
            assert!(!is_of_channels(shape, &[3, 5, 5]), "{shape:?}");
        }
        assert!(is_of_channels(&[3], &[3]) && is_of_channels(&[1, 3], &[3]));
    }
}
