//! Campaigns whose network somebody else runs: a host, such as a Python program, that holds the words and evaluates the model.
//!
//! Here is everything but the network: which bits flip, the judgement of outputs, the proof that faults are seen, the records, the
//! stopping rule, resuming. The files are those of any campaign. The steps are, in this order:
//!
//! 1. [`Hosted::prepare`] makes the fault space of the host's tensors and the campaign's identity;
//! 2. the host runs its network without faults, and [`Hosted::golden_outputs`] takes the outputs, batch by batch, or
//!    [`Hosted::golden_metrics`] the numbers that the host judges by itself: a [`HostGolden`];
//! 3. a [`Proof`] is made: once more without faults, which must give the same, and with [`Hosted::probes`], of which one must not;
//! 4. [`Hosted::open`] begins a [`HostedRun`] in a result directory, or goes on with it. For each trial that it names, the host asks
//!    [`Hosted::trial`] for the flips, makes them in its words, runs the network, undoes them (the same flips again), and gives what came
//!    out to [`HostedRun::record`].
//!
//! ```
//! use bitquake_bits::{Format, Layout, Words, WordsMut, WordStore};
//! use bitquake_campaign::End;
//! use bitquake_campaign::hosted::{Digests, HostTensor, Hosted, HostedConfig, HostedError, Proof};
//! use bitquake_record::ResultDir;
//!
//! /// A host whose network is a matrix of 3 classes and 2 inputs.
//! #[derive(Clone)]
//! struct Host(Vec<u8>, Layout);
//!
//! impl WordStore for Host {
//!     fn words(&self, tensor: &str) -> Option<Words<'_>> {
//!         Words::new(Format::F32, 6, &self.1, &self.0).ok().filter(|_| tensor == "w")
//!     }
//!     fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
//!         WordsMut::new(Format::F32, 6, &self.1, &mut self.0).ok().filter(|_| tensor == "w")
//!     }
//! }
//!
//! impl Host {
//!     /// The outputs for the images (1, 0) and (0, 1).
//!     fn outputs(&self) -> Vec<f32> {
//!         let word = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
//!         self.0.chunks(4).map(word).collect()
//!     }
//! }
//!
//! let words: Vec<u8> = [3.0_f32, 1.0, 2.0, 0.5, 4.0, 1.0].iter().flat_map(|word| word.to_le_bytes()).collect();
//! let mut host = Host(words, Layout::packed(Format::F32));
//! let labels = [0, 1];
//!
//! let config = HostedConfig::from_toml("[host]\nengine = 'a matrix'\n[fault]\ncounts = [1]\n[run]\ntrials = 20")?;
//! let tensors = vec![HostTensor { name: "w".into(), format: Format::F32, dims: vec![2, 3], by_name_only: false, also: vec![] }];
//! let digests = Digests { words: "5c".repeat(32), data: None }; // the host's SHA-256 over its words
//! let hosted = Hosted::prepare(config, tensors, digests)?;
//!
//! let mut golden = hosted.golden_outputs();
//! golden.push(&host.outputs(), 3, Some(&labels))?;
//! let golden = golden.finish(0.001)?;
//!
//! let mut proof = Proof::new(&golden);
//! proof.empty(&golden.judge(&host.outputs(), 3)?)?;
//! for probe in hosted.probes() {
//!     let probe = probe?;
//!     let mut faulty = host.clone();
//!     probe.pattern.apply(&mut faulty).expect("a pattern of these words");
//!     if proof.probe(&probe.tensor, &golden.judge(&faulty.outputs(), 3)?)? {
//!         break;
//!     }
//! }
//!
//! let folder = tempfile::tempdir().expect("a folder");
//! let mut run = hosted.open(&ResultDir::at(folder.path()), proof.finish()?)?;
//! while let Some((point, trial)) = run.next_trial() {
//!     let faults = hosted.trial(point, trial, &host)?;
//!     faults.pattern.apply(&mut host).expect("a pattern of these words");
//!     let result = golden.judge(&host.outputs(), 3)?;
//!     faults.pattern.apply(&mut host).expect("a pattern of these words"); // undoes it
//!     let record = run.record(faults, result, 0.001)?;
//!     assert_eq!((record.faults, record.images), (1, 2));
//! }
//! assert_eq!(run.finish()?, End::Finished);
//! # Ok::<(), HostedError>(())
//! ```

mod campaign;
mod config;
mod error;
mod golden;
mod identity;
mod metrics;
mod outputs;
mod proof;
mod result;
mod run;
mod tensor;

pub use campaign::{Hosted, HostedTrial, Probe};
pub use config::{HostConfig, HostedConfig, HostedRunConfig, OutputsConfig};
pub use error::{HostedError, MetricProblem};
pub use golden::HostGolden;
pub use metrics::KNOWN_COUNTS;
pub use outputs::{GoldenOutputs, TrialOutputs};
pub use proof::{Proof, Proved};
pub use result::HostResult;
pub use run::HostedRun;
pub use tensor::{Digests, HostTensor};
