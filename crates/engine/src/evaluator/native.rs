//! Evaluating images in the project's own kernels.

use std::sync::Arc;

use bitquake_data::Dataset;
use bitquake_fault::FaultPattern;

use super::{EachRow, Evaluator, Threads, check_labels};
use crate::chain::golden::GoldenRun;
use crate::chain::layout::same_bits;
use crate::chain::plan::ChainPlan;
use crate::chain::rows::{HereRow, RowFaults, RowValues};
use crate::error::EngineError;
use crate::model::Model;
use crate::native::Native;

/// Images that are computed before their outputs are judged: enough for all threads, and little memory.
const BLOCK: usize = 256;

impl<'d> Evaluator<'d> {
    /// Prepares to evaluate `data` in the project's own kernels, without ONNX Runtime. `native` is made of the model as it is now.
    ///
    /// Faults may be in stored tensors, and in the values of the input; all others end a run with an error.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when the images do not fit the model.
    pub fn native(
        model: Model,
        native: Native,
        data: &'d Dataset,
        threads: Threads,
    ) -> Result<Self, EngineError> {
        model.check_shape(data.image_shape())?;
        let plan = Arc::new(ChainPlan::whole(&model, data.image_shape()));
        let evaluator = Self::without_sessions(model, plan, data, BLOCK, threads);
        Ok(Self { native: Some(native), ..evaluator })
    }

    /// What computes instead of ONNX Runtime, if it is something else.
    #[must_use]
    pub fn as_native(&self) -> Option<&Native> {
        self.native.as_ref()
    }

    /// The golden run.
    pub(super) fn golden_natively(&mut self) -> Result<GoldenRun, EngineError> {
        let mut run = GoldenRun::empty(&self.plan);
        run.golden.outputs = self.outputs_natively(&FaultPattern::empty(), self.data.len())?;
        if let Some(native) = self.native.as_ref().filter(|_| self.judge.is_classifier()) {
            if !native.is_row || native.width < 2 {
                let reason = format!(
                    "output `{}` has {} values for each image; models that give one row of at least 2 class scores for each image are supported",
                    self.model.output, native.width
                );
                return Err(EngineError::Unsupported { model: self.model.file.clone(), reason });
            }
            check_labels(&self.model, self.data, native.width)?;
        }
        self.predict(&mut run);
        Ok(run)
    }

    /// The outputs of the first images.
    pub(super) fn outputs_natively(
        &mut self,
        pattern: &FaultPattern,
        images: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let images: Vec<u32> = (0..images.min(self.data.len()) as u32).collect();
        let mut outputs = Vec::new();
        self.faulty_natively(pattern, |evaluator| {
            evaluator.blocks(&images, &mut |_, rows| outputs.extend_from_slice(rows))
        })?;
        Ok(outputs)
    }

    /// As [`run`](Self::run).
    pub(super) fn run_natively(
        &mut self,
        images: &[u32],
        pattern: &FaultPattern,
        faults: &dyn RowFaults,
        golden: &GoldenRun,
        each: EachRow<'_>,
    ) -> Result<(), EngineError> {
        let lets_go = self.lets_go && pattern.flips() == 0;
        let (mut plain, mut hit) = (Vec::new(), Vec::new());
        for row in 0..images.len() {
            if !faults.stops(row).is_empty() {
                hit.push(row);
            } else if lets_go {
                each(row, None);
            } else {
                plain.push(row);
            }
        }
        let golden = &golden.golden;
        self.faulty_natively(pattern, |evaluator| {
            let width = evaluator.native.as_ref().map_or(0, |native| native.width);
            let mut tell = |row: usize, output: &[f32]| {
                let image = images[row] as usize;
                let clean = golden.outputs.get(image * width..(image + 1) * width);
                each(row, Some(output).filter(|output| clean.is_none_or(|clean| !same_bits(output, clean))));
            };
            let chosen: Vec<u32> = plain.iter().map(|&row| images[row]).collect();
            evaluator.blocks(&chosen, &mut |first, outputs| {
                let rows = outputs.chunks_exact(width.max(1)).zip(&plain[first..]);
                rows.for_each(|(output, &row)| tell(row, output));
            })?;
            hit.iter().try_for_each(|&row| evaluator.hit_row(images[row], row, faults, &mut tell))
        })
    }

    /// Runs one row with faults in its input.
    fn hit_row(
        &mut self,
        image: u32,
        row: usize,
        faults: &dyn RowFaults,
        tell: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        let (data, plan) = (self.data, Arc::clone(&self.plan));
        let mut values = data.images(image as usize..image as usize + 1).to_vec();
        for stop in faults.stops(row) {
            if stop.boundary != 0 {
                return Err(self.no_values());
            }
            let here = vec![(plan.values[0].name.as_str(), HereRow::InPlace(&mut values))];
            faults.apply(row, 0, &mut RowValues { here, before: Vec::new() })?;
        }
        let Some(native) = &mut self.native else { return Ok(()) };
        let mut output = vec![0.0; native.width];
        native.outputs(&values, &mut output, 1);
        tell(row, &output);
        Ok(())
    }

    /// Runs images in blocks; `each` is given the place of the first image of a block, and the outputs of all of its images.
    fn blocks(&mut self, images: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<(), EngineError> {
        if self.values.is_some() {
            return Err(self.no_values());
        }
        let (data, threads) = (self.data, self.threads);
        let Some(native) = &mut self.native else { return Ok(()) };
        let mut outputs = vec![0.0; BLOCK.min(images.len()) * native.width];
        let mut gathered = Vec::new();
        for (block, first) in images.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
            let outputs = &mut outputs[..block.len() * native.width];
            native.outputs(rows_of(data, block, &mut gathered), outputs, threads);
            each(first, outputs);
        }
        Ok(())
    }

    /// Does `work` with faults in the model, and undoes them.
    fn faulty_natively(
        &mut self,
        pattern: &FaultPattern,
        work: impl FnOnce(&mut Self) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        pattern.apply(&mut self.model.image)?;
        let worked = self.take_on(pattern).and_then(|()| work(self));
        // It fitted a moment ago; and what could not be taken on then can as little now, so the error is told already.
        let _ = pattern.apply(&mut self.model.image);
        let _ = self.take_on(pattern);
        worked
    }

    fn take_on(&mut self, pattern: &FaultPattern) -> Result<(), EngineError> {
        self.native.as_mut().map_or(Ok(()), |native| native.take_on(&self.model, pattern))
    }

    fn no_values(&self) -> EngineError {
        let reason =
            "faults and codes in activations need a graph that is cut, which it is for ONNX Runtime alone";
        EngineError::Native { model: self.model.file.clone(), reason: reason.into() }
    }
}

/// The pixels of images: where they are, if they follow each other.
fn rows_of<'a>(data: &'a Dataset, images: &[u32], gathered: &'a mut Vec<f32>) -> &'a [f32] {
    let follows = images.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
    match images.first() {
        Some(&first) if follows => data.images(first as usize..first as usize + images.len()),
        _ => {
            gathered.clear();
            for &image in images {
                gathered.extend_from_slice(data.images(image as usize..image as usize + 1));
            }
            gathered
        }
    }
}
