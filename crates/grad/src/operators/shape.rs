//! Operators that arrange values anew and change none.

use burn_backend::Slice;

use super::arithmetic::spread;
use crate::axes::{axes, axis, broadcast, count, places, strides};
use crate::call::{Call, Value, one, one_ints};
use crate::float::{Float, device_ints};
use crate::seam::Kernels;
use bitquake_graph::plan::Ints;

type Results<B> = Result<Vec<Value<B>>, String>;

pub(super) fn identity<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    Ok(vec![call.value(0)?])
}

pub(super) fn shape<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let sizes = Ints::sizes(&call.value(0)?.shape());
    let rank = sizes.values.len() as i64;
    let bound = |name: &str, default: i64| {
        let bound = call.attributes().int(name, default)?;
        Ok::<usize, String>(if bound < 0 { bound.saturating_add(rank) } else { bound }.clamp(0, rank) as usize)
    };
    let (start, end) = (bound("start", 0)?, bound("end", rank)?);
    one_ints(Ints::list(sizes.values[start.min(end)..end].to_vec()))
}

pub(super) fn reshape<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let value = call.value(0)?;
    let wanted = call.list(1, "shape")?.ok_or("input 1 (the shape) is missing")?;
    let keeps_zero = call.attributes().int("allowzero", 0)? != 0;
    let shape = target(&value.shape(), &wanted, keeps_zero)?;
    Ok(vec![reshaped(value, &shape)])
}

/// The shape that `Reshape` makes: 0 copies a size, -1 is what is left.
fn target(from: &[usize], wanted: &[i64], keeps_zero: bool) -> Result<Vec<usize>, String> {
    let elements: usize = from.iter().product();
    let failed = || format!("{from:?} cannot become {wanted:?}");
    let size = |(axis, &size): (usize, &i64)| match size {
        -1 => Ok(1),
        0 if !keeps_zero => from.get(axis).copied().ok_or_else(failed),
        size => usize::try_from(size).map_err(|_| failed()),
    };
    let mut shape = wanted.iter().enumerate().map(size).collect::<Result<Vec<usize>, _>>()?;
    let known = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let known = known.ok_or_else(failed)?;
    let mut open = (0..wanted.len()).filter(|&axis| wanted[axis] == -1);
    match (open.next(), open.next()) {
        (Some(axis), None) if known > 0 && elements.is_multiple_of(known) => shape[axis] = elements / known,
        (None, None) if known == elements => {}
        _ => return Err(failed()),
    }
    Ok(shape)
}

pub(super) fn flatten<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let value = call.value(0)?;
    let shape = value.shape();
    let split = call.attributes().int("axis", 1)?;
    let split = if split == shape.len() as i64 { shape.len() } else { axis(split, shape.len())? };
    let (rows, columns) = shape.split_at(split);
    let shape = [rows.iter().product(), columns.iter().product()];
    Ok(vec![reshaped(value, &shape)])
}

pub(super) fn squeeze<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let value = call.value(0)?;
    let shape = value.shape();
    let gone = match call.list(1, "axes")? {
        Some(wanted) => axes(&wanted, shape.len())?,
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
    };
    if let Some(axis) = gone.iter().find(|&&axis| shape[axis] != 1) {
        return Err(format!("axis {axis} of {shape:?} is not of size 1"));
    }
    let left: Vec<usize> =
        (0..shape.len()).filter(|axis| !gone.contains(axis)).map(|axis| shape[axis]).collect();
    Ok(vec![reshaped(value, &left)])
}

pub(super) fn unsqueeze<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let value = call.value(0)?;
    let wanted = call.list(1, "axes")?.ok_or("the axes are missing")?;
    let mut shape = value.shape();
    for axis in axes(&wanted, shape.len() + wanted.len())? {
        shape.insert(axis, 1);
    }
    Ok(vec![reshaped(value, &shape)])
}

/// The value in another shape of as many elements.
fn reshaped<B: Kernels>(value: Value<B>, shape: &[usize]) -> Value<B> {
    match value {
        Value::Float(float) => Value::Float(float.reshape(shape)),
        Value::Ints(ints) => Value::Ints(Ints { shape: shape.to_vec(), values: ints.values }),
    }
}

pub(super) fn transpose<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let value = call.value(0)?;
    let from = value.shape();
    let order = match call.attributes().ints("perm")? {
        Some(order) => order.iter().map(|&place| axis(place, from.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..from.len()).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..from.len()).collect::<Vec<_>>() {
        return Err(format!("attribute `perm` is {order:?} for rank {}", from.len()));
    }
    match value {
        Value::Float(float) => one(float.permute(&order)),
        Value::Ints(ints) => {
            let own = strides(&from);
            let (shape, steps): (Vec<usize>, Vec<usize>) =
                order.iter().map(|&axis| (from[axis], own[axis])).unzip();
            one_ints(picked(&ints, &shape, &steps)?)
        }
    }
}

fn picked(ints: &Ints, shape: &[usize], steps: &[usize]) -> Result<Ints, String> {
    ints.pick(shape.to_vec(), places(shape, steps))
        .ok_or_else(|| format!("{:?} has no such part", ints.shape))
}

pub(super) fn expand<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let value = call.value(0)?;
    let wanted = call.ints(1)?;
    let wanted = wanted.values.iter().map(|&size| usize::try_from(size));
    let wanted = wanted.collect::<Result<Vec<usize>, _>>().map_err(|_| "a size is negative")?;
    let shape = broadcast(&value.shape(), &wanted)?;
    count(&shape)?;
    match value {
        Value::Float(float) => one(float.expand(&shape)),
        Value::Ints(ints) => one_ints(picked(&ints, &shape, &spread(&ints.shape, &shape))?),
    }
}

pub(super) fn concat<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let first = call.value(0)?.shape();
    let along = axis(call.attributes().int("axis", 0)?, first.len())?;
    for place in 0..call.inputs.len() {
        let shape = call.value(place)?.shape();
        let fits = shape.len() == first.len()
            && (0..shape.len()).all(|axis| axis == along || shape[axis] == first[axis]);
        if !fits {
            return Err(format!("{first:?} and {shape:?} cannot be joined along axis {along}"));
        }
    }
    if let Value::Ints(_) = call.value(0)? {
        return one_ints(joined(&call, along)?);
    }
    let parts = (0..call.inputs.len()).map(|place| call.float(place).map(Float::into_primitive));
    one(Float::new(B::float_cat(parts.collect::<Result<_, _>>()?, along)))
}

/// Whole numbers joined along an axis.
fn joined<B: Kernels>(call: &Call<'_, B>, along: usize) -> Result<Ints, String> {
    let parts = (0..call.inputs.len()).map(|place| call.ints(place)).collect::<Result<Vec<Ints>, _>>()?;
    let mut shape = parts[0].shape.clone();
    shape[along] = parts.iter().map(|part| part.shape[along]).sum();
    let outer: usize = shape[..along].iter().product();
    let mut values = Vec::new();
    for row in 0..outer {
        for part in &parts {
            let length = part.values.len() / outer;
            values.extend_from_slice(&part.values[row * length..(row + 1) * length]);
        }
    }
    Ok(Ints { shape, values })
}

pub(super) fn split<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let value = call.value(0)?;
    let shape = value.shape();
    let along = axis(call.attributes().int("axis", 0)?, shape.len())?;
    let size = shape[along];
    let sizes = match call.list(1, "split")? {
        Some(sizes) => sizes.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).collect(),
        None => {
            // Equal parts, of which the last may be smaller.
            let parts = call.step.outputs.len();
            let one = size.div_ceil(parts.max(1));
            (0..parts).map(|part| one.min(size.saturating_sub(part * one))).collect::<Vec<_>>()
        }
    };
    if sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size)) != Some(size) || sizes.contains(&0)
    {
        return Err(format!("axis {along} of {shape:?} cannot be split into {sizes:?}"));
    }
    let mut start = 0;
    let part = |&size: &usize| {
        start += size;
        cut(value.clone(), along, start - size, size, 1, call.device)
    };
    sizes.iter().map(part).collect()
}

/// `count` places of an axis from `start` on, `step` apart.
fn cut<B: Kernels>(
    value: Value<B>,
    along: usize,
    start: usize,
    count: usize,
    step: i64,
    device: &B::Device,
) -> Result<Value<B>, String> {
    let place = |index: usize| (start as i64 + index as i64 * step) as usize;
    let float = match value {
        Value::Float(float) => float,
        ints => return select(ints, along, &(0..count).map(place).collect::<Vec<usize>>(), device),
    };
    let ends = [start, place(count - 1)];
    let [low, high] = if step > 0 { ends } else { [ends[1], ends[0]] };
    let mut slices: Vec<Slice> = float.shape().iter().map(|&size| Slice::from(0..size)).collect();
    slices[along] = Slice::new(low as isize, Some(high as isize + 1), step.unsigned_abs() as isize);
    let part = float.slice(&slices);
    Ok(Value::Float(if step < 0 { part.map(|x| B::float_flip(x, &[along])) } else { part }))
}

pub(super) fn slice<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let mut value = call.value(0)?;
    let shape = value.shape();
    let (starts, ends) = (call.list(1, "starts")?, call.list(2, "ends")?);
    let starts = starts.ok_or("the starts are missing")?;
    let ends = ends.ok_or("the ends are missing")?;
    let along = call.list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), along.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps have different lengths".to_owned());
    }
    axes(&along, shape.len())?;
    for (((&start, &end), &wanted), &step) in starts.iter().zip(&ends).zip(&along).zip(&steps) {
        let along = axis(wanted, shape.len())?;
        let (start, count) = range(start, end, step, shape[along])?;
        if count == 0 {
            return Err(format!(
                "the part {start}..{end} of axis {along} of {shape:?} is empty; parts with elements are supported"
            ));
        }
        if (start, count, step) != (0, shape[along], 1) {
            value = cut(value, along, start, count, step, call.device)?;
        }
    }
    Ok(vec![value])
}

/// The first place and the number of places of `start..end` in steps, as ONNX cuts them to an axis of `size`.
fn range(start: i64, end: i64, step: i64, size: usize) -> Result<(usize, usize), String> {
    let size = size as i64;
    if step == 0 || step.unsigned_abs() > i32::MAX as u64 {
        return Err(format!("a step of {step}"));
    }
    let from_end = |place: i64| if place < 0 { place.saturating_add(size) } else { place };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let start = from_end(start).clamp(low.max(0), high.max(0));
    let end = from_end(end).clamp(low, high);
    let span = if step > 0 { end - start } else { start - end };
    let count = if span <= 0 { 0 } else { (span + step.abs() - 1) / step.abs() };
    Ok((start as usize, count as usize))
}

pub(super) fn gather<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let value = call.value(0)?;
    let shape = value.shape();
    let along = axis(call.attributes().int("axis", 0)?, shape.len())?;
    let indices = call.ints(1)?;
    let wrapped = indices.values.iter().map(|&index| {
        axis(index, shape[along]).map_err(|_| format!("index {index} is outside axis {along} of {shape:?}"))
    });
    let wrapped = wrapped.collect::<Result<Vec<usize>, _>>()?;
    let result = [&shape[..along], &indices.shape, &shape[along + 1..]].concat();
    count(&result)?;
    Ok(vec![reshaped(select(value, along, &wrapped, call.device)?, &result)])
}

/// Places of an axis, in any order and any number of times; all within it.
fn select<B: Kernels>(
    value: Value<B>,
    along: usize,
    wanted: &[usize],
    device: &B::Device,
) -> Result<Value<B>, String> {
    let shape = value.shape();
    if wanted.is_empty() {
        return Err("there are no indices".to_owned());
    }
    match value {
        Value::Float(float) => {
            let indices = Ints::list(wanted.iter().map(|&index| index as i64).collect());
            let indices = device_ints::<B>(&indices, device);
            Ok(Value::Float(Float::new(B::float_select(float.into_primitive(), along, indices))))
        }
        Value::Ints(ints) => {
            let inner: usize = shape[along + 1..].iter().product();
            let outer: usize = shape[..along].iter().product();
            let mut result = shape.clone();
            result[along] = wanted.len();
            let size = shape[along];
            let rows = (0..outer).flat_map(|row| wanted.iter().map(move |&index| row * size + index));
            let found =
                ints.pick(result, rows.flat_map(|row| (0..inner).map(move |place| row * inner + place)));
            Ok(Value::Ints(found.ok_or("an index is outside")?))
        }
    }
}

/// Constant, edge and reflected values around the data; negative pads cut.
pub(super) fn pad<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let mut value = Value::Float(call.float(0)?);
    let rank = value.shape().len();
    let pads = call.list(1, "pads")?.ok_or("the pads are missing")?;
    let along = match call.list(3, "\0")? {
        Some(wanted) => wanted.iter().map(|&wanted| axis(wanted, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * along.len() || pads.iter().any(|pad| pad.unsigned_abs() > 1 << 20) {
        return Err(format!("pads {pads:?} for {} axes", along.len()));
    }
    let mode = call.attributes().text("mode", "constant")?;
    let fill = if call.has(2) { call.number(2)? } else { call.attributes().float("value", 0.0)? };
    for (place, &along) in along.iter().enumerate() {
        let size = value.shape()[along] as i64;
        let (before, after) = (pads[place], pads[place + pads.len() / 2]);
        if (before, after) == (0, 0) {
            continue;
        }
        if size + before + after <= 0 || (mode == "constant" && before.max(after) < -size) {
            return Err(format!("pads {before} and {after} leave nothing of {size}"));
        }
        let source = |at: i64| match mode.as_str() {
            "constant" => Ok((0..size).contains(&at).then_some(at)),
            "edge" => Ok(Some(at.clamp(0, size - 1))),
            "reflect" if at > -size && at < 2 * size - 1 => Ok(Some(if at < 0 {
                -at
            } else if at >= size {
                2 * size - 2 - at
            } else {
                at
            })),
            "reflect" => Err(format!("reflected pads {before} and {after} of {size} reach too far")),
            other => Err(format!("attribute `mode` is {other}; constant, edge and reflect are supported")),
        };
        let sources = (-before..size + after).map(source).collect::<Result<Vec<Option<i64>>, _>>()?;
        let Value::Float(float) = value else { return Err("floats are supported".to_owned()) };
        value = Value::Float(filled(float, along, &sources, fill, call.device)?);
    }
    Ok(vec![value])
}

/// An axis put together from places of it, and `fill` where there is none (at the ends).
fn filled<B: Kernels>(
    float: Float<B>,
    along: usize,
    sources: &[Option<i64>],
    fill: f32,
    device: &B::Device,
) -> Result<Float<B>, String> {
    let inside: Vec<usize> = sources.iter().flatten().map(|&source| source as usize).collect();
    let front = sources.iter().take_while(|source| source.is_none()).count();
    let back = sources.len() - front - inside.len();
    let mut shape = float.shape();
    let constant = |length: usize, shape: &mut Vec<usize>| {
        shape[along] = length;
        Float::<B>::full(fill, shape, device).into_primitive()
    };
    let mut parts = Vec::new();
    if front > 0 {
        parts.push(constant(front, &mut shape));
    }
    if let Value::Float(middle) = select(Value::Float(float), along, &inside, device)? {
        parts.push(middle.into_primitive());
    }
    if back > 0 {
        parts.push(constant(back, &mut shape));
    }
    Ok(Float::new(B::float_cat(parts, along)))
}
