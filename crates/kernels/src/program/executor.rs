//! A program, run on batches.

mod products;
mod variants;

use std::convert::Infallible;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use products::{NoProducts, Products};
pub use variants::Edit;

use super::Program;
use super::compile::{Purpose, Wanted, compile, compile_thriftily};
use super::inference::joined;
use super::operation::{Shape, Value};
use super::plan::Plan;
use super::run::{Call, Measured, Slopes, Workspace, floats_of_batch, run};

/// Runs a program on batches of images: forward, and backward.
///
/// It may be used from several threads at once; each call that runs at the same time has memory of its own. Equal calls give equal bits, on
/// any number of threads.
///
/// Memory grows with the batch: [`missing_bytes`](Self::missing_bytes) says by how much, before a call takes it. Of each image are kept the
/// results of convolutions, of sums and of linear layers, blocked; normalizations, and activations after them, are computed anew in the
/// backward pass, and of a pool of maxima is kept where those stand. For ResNet-20 at 32x32 that is 1.5 MB an image. Where that is too much,
/// [`Request::thrift`] keeps less and computes more of it again.
///
/// ```
/// use bitquake_kernels::program::{Executor, Program, Request, Shape, Statistics};
/// use bitquake_kernels::Isa;
///
/// // y = relu(w x), w of 1 row and 2 columns.
/// let mut program = Program::new(Shape::new(2, 1, 1), vec![2], Isa::best())?;
/// let product = program.linear(program.input(), 1, 0, true, None)?;
/// let y = program.relu(product);
/// let executor = Executor::new(program, y);
/// let parameters = [vec![0.5, 2.0]];
/// let images = [1.0, 1.0, -1.0, -1.0]; // two images
/// assert_eq!(executor.forward(&parameters, &images, 2, Statistics::Running), [2.5, 0.0]);
///
/// let request = Request { statistics: Statistics::Running, parameters: &[0], values: &[], thrift: 0 };
/// let ones = |_: &[f32], gradient: &mut [f32]| {
///     gradient.fill(1.0);
///     Ok::<(), std::convert::Infallible>(())
/// };
/// let found = executor.gradients(&parameters, &images, 2, &request, ones)?;
/// assert_eq!(found.parameters, [[1.0, 1.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Executor {
    program: Program,
    output: usize,
    /// The plans of the last calls, the latest last.
    plans: Mutex<Vec<Arc<Compiled>>>,
}

/// Which statistics batch normalizations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistics {
    /// The running ones, from the parameters.
    Running,
    /// Those of the batch.
    Batch,
}

/// What gradients are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which statistics batch normalizations use.
    pub statistics: Statistics,
    /// The parameters whose gradients are wanted, by index.
    pub parameters: &'a [usize],
    /// The values whose gradients are wanted.
    pub values: &'a [Value],
    /// How much less is kept for the backward pass, and how much more is computed again: 0 keeps all, each number above it holds less
    /// than the one before, and those from [`thrifts`](Executor::thrifts) on are as the last below. It changes no bit of the results.
    /// [`Executor::least_thrift`] finds the one that fits. [`products`](Executor::products) keep all.
    pub thrift: usize,
}

/// The results of a forward and a backward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The outputs, image after image, plain.
    pub outputs: Vec<f32>,
    /// For each parameter that was asked for its gradient; zeros where the outputs do not depend on it.
    pub parameters: Vec<Vec<f32>>,
    /// For each value that was asked for its gradient, image after image, plain.
    pub values: Vec<Vec<f32>>,
    /// For each batch normalization, in order, its value and what it measured: the mean and the unbiased variance of each channel (the
    /// biased one if there is a single value). Empty with running statistics.
    pub measured: Vec<(Value, [Vec<f32>; 2])>,
}

/// What a run gives.
struct Found {
    outputs: Vec<f32>,
    taps: Vec<Vec<f32>>,
    measured: Measured,
    slopes: Slopes,
}

#[derive(Debug)]
struct Compiled {
    purpose: Purpose,
    plan: Plan,
    /// Plans that keep ever less, made when one is asked for.
    thrifty: OnceLock<Vec<Plan>>,
    /// Each for the plan that used it last.
    workspaces: Mutex<Vec<Workspace>>,
}

/// More kinds of calls than anyone makes in turns; the memory of others is given back.
const MOST_PLANS: usize = 6;

impl Executor {
    /// A program whose result is `output`.
    ///
    /// # Panics
    /// When the value is not the program's.
    #[must_use]
    pub fn new(program: Program, output: Value) -> Executor {
        assert!(output.0 < program.shapes.len(), "a value of another program");
        Executor { program, output: output.0, plans: Mutex::new(Vec::new()) }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The shape of the output, for one image.
    #[must_use]
    pub fn output_shape(&self) -> Shape {
        self.program.shapes[self.output]
    }

    /// The outputs for a batch of images, plain (`[batch][channels][height][width]`); `parameters` are those of the program.
    ///
    /// # Panics
    /// When the images or a parameter have other lengths than the program says, or there are no images.
    #[must_use]
    pub fn forward(
        &self,
        parameters: &[Vec<f32>],
        images: &[f32],
        batch: usize,
        statistics: Statistics,
    ) -> Vec<f32> {
        let purpose = Purpose { of_batch: statistics == Statistics::Batch, gradients: None, checks: false };
        let found = self.run((purpose, 0), parameters, images, batch, &[], |_, _| Ok::<(), Infallible>(()));
        match found {
            Ok(Found { outputs, .. }) => outputs,
            Err(never) => match never {},
        }
    }

    /// A forward and a backward pass. `objective` is given the outputs, and fills in the gradient of what is differentiated with respect to
    /// them.
    ///
    /// # Errors
    /// Those of `objective`.
    ///
    /// # Panics
    /// As [`forward`](Self::forward); when a parameter or a value is not the program's.
    pub fn gradients<E: Send>(
        &self,
        parameters: &[Vec<f32>],
        images: &[f32],
        batch: usize,
        request: &Request<'_>,
        objective: impl FnOnce(&[f32], &mut [f32]) -> Result<(), E> + Send,
    ) -> Result<Gradients, E> {
        let purpose = self.purpose(request);
        let objective = |outputs: [&[f32]; 2], slopes: [&mut [f32]; 2]| {
            let ([outputs, _], [slopes, _]) = (outputs, slopes);
            objective(outputs, slopes)
        };
        let Found { outputs, taps: values, measured, mut slopes } =
            self.run((purpose, request.thrift), parameters, images, batch, &[], objective)?;
        let measured = measured.into_iter().map(|(value, measured)| (Value(value), measured)).collect();
        let parameters = self.taken(request.parameters, &mut slopes);
        Ok(Gradients { outputs, parameters, values, measured })
    }

    /// Of each parameter its gradient; zeros if the outputs do not depend on it.
    fn taken(&self, parameters: &[usize], slopes: &mut [Option<Vec<f32>>]) -> Vec<Vec<f32>> {
        let take = |(place, &parameter): (usize, &usize)| {
            let is_last = !parameters[place + 1..].contains(&parameter);
            let gradient = if is_last { slopes[parameter].take() } else { slopes[parameter].clone() };
            gradient.unwrap_or_else(|| vec![0.0; self.program.parameters[parameter]])
        };
        parameters.iter().enumerate().map(take).collect()
    }

    /// The bytes that [`gradients`](Self::gradients) of such a batch would take from the system, beyond what calls before have left: 0 if
    /// those were alike and as large.
    ///
    /// # Panics
    /// When a parameter or a value is not the program's.
    #[must_use]
    pub fn missing_bytes(&self, request: &Request<'_>, batch: usize) -> usize {
        self.missing_bytes_of(self.purpose(request), request.thrift, batch)
    }

    fn missing_bytes_of(&self, purpose: Purpose, thrift: usize, batch: usize) -> usize {
        let compiled = self.compiled(purpose);
        let plan = self.plan(&compiled, thrift);
        let workspaces = compiled.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        // The last is the one that the next call takes.
        let missing =
            workspaces.last().map_or_else(|| floats_of_batch(plan, batch), |last| last.missing(plan, batch));
        missing.saturating_mul(size_of::<f32>())
    }

    /// The bytes that [`gradients`](Self::gradients) of such a batch works with in all: what it keeps of each image, and sums of
    /// gradients. Packed weights, and what threads work in, do not grow with the batch and are not counted.
    ///
    /// # Panics
    /// When a parameter or a value is not the program's.
    #[must_use]
    pub fn bytes(&self, request: &Request<'_>, batch: usize) -> usize {
        self.bytes_of(self.purpose(request), request.thrift, batch)
    }

    fn bytes_of(&self, purpose: Purpose, thrift: usize, batch: usize) -> usize {
        let compiled = self.compiled(purpose);
        floats_of_batch(self.plan(&compiled, thrift), batch).saturating_mul(size_of::<f32>())
    }

    /// The number of different [thrifts](Request::thrift): 1 if nothing can be spared.
    ///
    /// # Panics
    /// When a parameter or a value is not the program's.
    #[must_use]
    pub fn thrifts(&self, request: &Request<'_>) -> usize {
        1 + self.thrifty(&self.compiled(self.purpose(request))).len()
    }

    /// The least [thrift](Request::thrift) that `fits`, and so the one of those that computes the least again; `None` if none does. That of the request is passed
    /// over.
    ///
    /// ```
    /// use bitquake_kernels::program::{Executor, Program, Request, Shape, Statistics};
    /// use bitquake_kernels::{Isa, Window};
    ///
    /// // Eight convolutions of 16 channels, one after the other.
    /// let window = Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) };
    /// let mut program = Program::new(Shape::new(16, 8, 8), vec![16 * 16 * 9; 8], Isa::best())?;
    /// let mut value = program.input();
    /// for weight in 0..8 {
    ///     value = program.convolution(value, 16, 1, window, weight, None)?;
    /// }
    /// let executor = Executor::new(program, value);
    /// let request =
    ///     Request { statistics: Statistics::Batch, parameters: &[0], values: &[], thrift: 0 };
    /// let half = executor.bytes(&request, 64) * 2 / 3;
    /// let fits = |request: &Request<'_>| executor.bytes(request, 64) <= half;
    /// assert!(executor.least_thrift(&request, fits).is_some_and(|thrift| thrift > 0));
    /// # Ok::<(), bitquake_kernels::program::ProgramError>(())
    /// ```
    ///
    /// # Panics
    /// When a parameter or a value is not the program's.
    #[must_use]
    pub fn least_thrift(&self, request: &Request<'_>, fits: impl Fn(&Request<'_>) -> bool) -> Option<usize> {
        let fits = |thrift: &usize| fits(&Request { thrift: *thrift, ..*request });
        // The plans of others are not made if all can be kept.
        Some(0).filter(fits).or_else(|| (1..self.thrifts(request)).find(fits))
    }

    fn purpose(&self, request: &Request<'_>) -> Purpose {
        let mut wanted = vec![false; self.program.parameters.len()];
        request.parameters.iter().for_each(|&parameter| wanted[parameter] = true);
        let values = request.values.iter().map(|value| value.0).collect();
        Purpose {
            of_batch: request.statistics == Statistics::Batch,
            gradients: Some(Wanted { parameters: wanted, values, products: false }),
            checks: false,
        }
    }

    /// Of each value of the program, the input first, whether a float of it is NaN or infinite.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    #[must_use]
    pub fn nonfinite(
        &self,
        parameters: &[Vec<f32>],
        images: &[f32],
        batch: usize,
        statistics: Statistics,
    ) -> Vec<bool> {
        let purpose = Purpose { of_batch: statistics == Statistics::Batch, gradients: None, checks: true };
        let flags: Vec<AtomicBool> = self.program.shapes.iter().map(|_| AtomicBool::new(false)).collect();
        match self.run((purpose, 0), parameters, images, batch, &flags, |_, _| Ok::<(), Infallible>(())) {
            Ok(_) => flags.into_iter().map(AtomicBool::into_inner).collect(),
            Err(never) => match never {},
        }
    }

    /// The bytes of memory that are kept between calls.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let of_plan = |compiled: &Arc<Compiled>| {
            let workspaces = compiled.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
            workspaces.iter().map(Workspace::bytes).sum::<usize>()
        };
        plans.iter().map(of_plan).sum()
    }

    fn run<E: Send>(
        &self,
        (purpose, thrift): (Purpose, usize),
        parameters: &[Vec<f32>],
        images: &[f32],
        batch: usize,
        flags: &[AtomicBool],
        objective: impl FnOnce([&[f32]; 2], [&mut [f32]; 2]) -> Result<(), E> + Send,
    ) -> Result<Found, E> {
        let moves = purpose.gradients.as_ref().is_some_and(|wanted| wanted.products);
        // Directions are checked where they are joined to the parameters.
        let own = if moves { &parameters[..self.program.parameters.len()] } else { parameters };
        self.check(own, images, batch);
        let compiled = self.compiled(purpose);
        let plan = self.plan(&compiled, thrift);
        let elements = batch * plan.output.elements();
        let has_seed = compiled.purpose.gradients.is_some();
        let list = |is_there: bool| vec![0.0; if is_there { elements } else { 0 }];
        let (mut outputs, mut moved) = (list(true), list(moves));
        let (mut seed, mut moved_seed) = (list(has_seed), list(moves));
        let mut taps: Vec<Vec<f32>> =
            plan.taps.iter().map(|shape| vec![0.0; batch * shape.elements()]).collect();
        let kept = compiled.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = kept.unwrap_or_default();
        let call = Call {
            isa: self.program.isa,
            parameters,
            images,
            batch,
            outputs: [&mut outputs, &mut moved],
            seed: [&mut seed, &mut moved_seed],
            taps: &mut taps,
            flags,
        };
        // On a thread of rayon's, so that sharing out the work of each stage does not wake up one first.
        let found = rayon::scope(|_| run(plan, &mut workspace, call, objective));
        compiled.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        found.map(|(measured, slopes)| Found { outputs, taps, measured, slopes })
    }

    fn check(&self, parameters: &[Vec<f32>], images: &[f32], batch: usize) {
        let lengths = parameters.iter().map(Vec::len);
        assert!(lengths.eq(self.program.parameters.iter().copied()), "parameters of other lengths");
        let elements = batch.checked_mul(self.program.shapes[0].elements());
        assert!(
            batch > 0 && elements == Some(images.len()),
            "{} floats are not {batch} images",
            images.len()
        );
    }

    fn plan<'c>(&self, compiled: &'c Compiled, thrift: usize) -> &'c Plan {
        let Some(place) = thrift.checked_sub(1) else { return &compiled.plan };
        let thrifty = self.thrifty(compiled);
        thrifty.get(place).or(thrifty.last()).unwrap_or(&compiled.plan)
    }

    fn thrifty<'c>(&self, compiled: &'c Compiled) -> &'c [Plan] {
        compiled.thrifty.get_or_init(|| compile_thriftily(&self.program, self.output, &compiled.purpose))
    }

    fn compiled(&self, purpose: Purpose) -> Arc<Compiled> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let found = plans.iter().position(|compiled| compiled.purpose == purpose);
        let compiled = match found {
            Some(place) => plans.remove(place),
            None => {
                let plan = compile(&self.program, self.output, &purpose);
                let is_inference = purpose.gradients.is_none() && !purpose.checks && !purpose.of_batch;
                let plan = if is_inference { joined(plan, &self.program) } else { plan };
                let (thrifty, workspaces) = (OnceLock::new(), Mutex::new(Vec::new()));
                Arc::new(Compiled { purpose, plan, thrifty, workspaces })
            }
        };
        if plans.len() >= MOST_PLANS {
            plans.remove(0);
        }
        plans.push(Arc::clone(&compiled));
        compiled
    }
}
