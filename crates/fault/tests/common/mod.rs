//! A small model in memory, and every fault model once.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bitquake_bits::{BitSelection, Format, WordStore, Words, WordsMut};
use bitquake_fault::*;
use bitquake_sample::{Rate, StreamKey};
use bitquake_testing::SplitMix64;

/// Statistical tests: with another seed, an assertion fails by chance with at most this probability.
pub const FALSE_ALARM: f64 = 1e-6;

pub const TENSORS: [(&str, Format, u64); 3] =
    [("a", Format::F32, 1000), ("b", Format::U8, 301), ("c", Format::F16, 500)];

pub fn key(trial: u64) -> StreamKey {
    StreamKey { seed: 20_261_121, point: 0, trial }
}

pub fn rate(p: f64) -> Rate {
    Rate::new(p).expect("a rate")
}

pub fn space_of(tensors: &[(&str, Format, u64)], bits: BitSelection) -> FaultSpace {
    let candidates = tensors.iter().map(|&(name, format, elements)| Candidate {
        name,
        format,
        elements,
        by_name_only: false,
    });
    FaultSpace::select(candidates, &Selector::all(), bits).expect("a space")
}

pub fn space() -> FaultSpace {
    space_of(&TENSORS, BitSelection::All).with_dims(dims).expect("dimensions")
}

/// The dimensions of the tensors of [`TENSORS`].
pub fn dims(name: &str) -> Option<Vec<u64>> {
    Some(match name {
        "a" => vec![10, 10, 10],
        "b" => vec![7, 43],
        _ => vec![5, 2, 10, 5],
    })
}

/// One of the patterns in `examples/patterns`.
pub fn pattern(file: &str) -> SpatialPattern {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/patterns").join(file);
    SpatialPattern::from_json(&std::fs::read_to_string(path).expect("a file")).expect("a pattern")
}

fn shape(shape: Shape, at: Elements, effect: WordEffect) -> FaultModel {
    FaultModel::Shape(ShapeFaults { shape, at, effect })
}

/// Packed tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Store(pub BTreeMap<&'static str, (Format, Vec<u8>)>);

impl Store {
    /// The tensors of [`TENSORS`] with random bytes.
    pub fn random(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        Self(
            TENSORS
                .iter()
                .map(|&(name, format, n)| (name, (format, random.bytes(n as usize * format.bytes()))))
                .collect(),
        )
    }

    pub fn bit(&self, tensor: &str, address: u64) -> bool {
        self.words(tensor).expect("a tensor").bit(address).expect("an address")
    }
}

impl WordStore for Store {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        self.0.get(tensor).map(|(format, bytes)| Words::packed(*format, bytes))
    }
    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        self.0.get_mut(tensor).map(|(format, bytes)| WordsMut::packed(*format, bytes))
    }
}

/// All faults as (tensor, address, effect), sorted.
pub fn listed(faults: &Faults) -> Vec<(String, u64, Effect)> {
    let tensor = |tensor: &TensorFaults| {
        let name = tensor.tensor.clone();
        let of = |effect| tensor.addresses(effect).iter().map(move |&address| (address, effect));
        let all: Vec<_> = Effect::ALL.into_iter().flat_map(of).collect();
        all.into_iter().map(move |(address, effect)| (name.clone(), address, effect))
    };
    let mut all: Vec<_> = faults.tensors().iter().flat_map(tensor).collect();
    all.sort();
    all
}

/// All flips as (tensor, address), sorted.
pub fn flipped(pattern: &FaultPattern) -> Vec<(String, u64)> {
    let of = |flips: &TensorFlips| {
        let name = flips.tensor.clone();
        flips.addresses.clone().into_iter().map(move |address| (name.clone(), address))
    };
    pattern.tensors().iter().flat_map(of).collect()
}

/// A small chip with every kind of cell.
pub fn chip() -> ChipMap {
    let cell = |index, threshold, fault| ChipCell { index, threshold: Some(threshold), fault };
    let flips = |to_one, to_zero| CellFault::Flips { to_one: rate(to_one), to_zero: rate(to_zero) };
    let cells = vec![
        cell(0, 0.9, flips(1.0, 1.0)),
        cell(7, 0.8, CellFault::Stuck(true)),
        cell(8, 0.7, CellFault::Stuck(false)),
        cell(33, 0.85, flips(0.4, 0.1)),
        cell(60, 0.75, flips(0.2, 0.7)),
        cell(76, 0.65, flips(0.0, 1.0)),
    ];
    ChipMap::new(7, 11, cells).expect("a chip")
}

/// A memory that the tensors of [`TENSORS`] fill to a large part.
pub fn dram() -> DramGeometry {
    DramGeometry {
        channels: 1,
        ranks: 2,
        banks: 2,
        rows: 16,
        columns: 16,
        bus_bits: 64,
        device_bits: 8,
        order: [Level::Column, Level::Bank, Level::Row, Level::Rank, Level::Channel],
    }
}

/// One or more of every model, named.
pub fn models() -> Vec<(&'static str, FaultModel)> {
    let regions = [("a@lbi:0..320", 0.1), ("b:*:7", 0.5)];
    let regions =
        regions.map(|(sites, p)| FaultyRegion { sites: sites.parse().expect("sites"), rate: rate(p) });
    let burst = |amount| Burst {
        amount,
        lengths: vec![(2, 3.0), (3, 1.0)],
        neighbours: Neighbours::Word,
        each: Rate::ONE,
        effect: Effect::Flip,
    };
    let memory_burst = Burst {
        lengths: vec![(40, 1.0)],
        neighbours: Neighbours::Memory,
        each: rate(0.5),
        effect: Effect::Set1,
        ..burst(Amount::Count(3))
    };
    let each = |effect| WordEffect::Bits { effect, hit: BitsHit::Each(rate(0.5)) };
    let map = |offset| FaultModel::Map(MapFaults { chip: Arc::new(chip()), voltage: Some(0.72), offset });
    let dram_fault = |structure, scope, amount| {
        let each = rate(0.5);
        let geometry = dram();
        FaultModel::Dram(DramFault { geometry, scope, amount, each, ..DramFault::one(structure) })
    };
    vec![
        ("rate", FaultModel::BitFlip(Hits::Rate(rate(0.01)))),
        ("count", FaultModel::BitFlip(Hits::Count(20))),
        (
            "sites",
            FaultModel::BitFlip(Hits::Sites(vec![
                "a:3:30".parse().expect("a site"),
                "b@lbi:4..9".parse().expect("a range"),
            ])),
        ),
        ("regions", FaultModel::BitFlip(Hits::Regions(regions.to_vec()))),
        ("asymmetric", FaultModel::Asymmetric { to_one: rate(0.002), to_zero: rate(0.02) }),
        ("stuck at 0", FaultModel::StuckAt { value: false, at: Hits::Rate(rate(0.01)) }),
        ("stuck at 1", FaultModel::StuckAt { value: true, at: Hits::OneBit(Elements::Share(rate(0.05))) }),
        ("set value", FaultModel::SetValue { value: Value::Number(1.0), at: Elements::Count(5) }),
        ("random value", FaultModel::SetValue { value: Value::Random, at: Elements::Rate(rate(0.01)) }),
        ("burst rate", FaultModel::Burst(burst(Amount::Rate(rate(0.003))))),
        ("burst count", FaultModel::Burst(burst(Amount::Count(12)))),
        ("memory burst", FaultModel::Burst(memory_burst)),
        ("map", map(Offset::Fixed(5))),
        ("map anywhere", map(Offset::Random)),
        ("row", dram_fault(Structure::Row, Scope::OneDevice, Amount::Count(2))),
        ("column", dram_fault(Structure::Column, Scope::OneDevice, Amount::Rate(rate(0.02)))),
        ("bank", dram_fault(Structure::Bank, Scope::OneDevice, Amount::Count(1))),
        ("device", dram_fault(Structure::Device, Scope::OneDevice, Amount::Count(1))),
        ("channel", shape(Shape::Channel, Elements::Count(2), WordEffect::default())),
        (
            "block",
            shape(Shape::Block { rows: 2, columns: 3 }, Elements::Rate(rate(0.01)), each(Effect::Set1)),
        ),
        (
            "wake",
            shape(Shape::BulletWake { channels: None }, Elements::Count(4), WordEffect::Value(Value::Random)),
        ),
        (
            "pattern",
            shape(
                Shape::Pattern(Arc::new(pattern("convolution-example.json"))),
                Elements::Rate(rate(0.02)),
                WordEffect::default(),
            ),
        ),
        ("saturate", FaultModel::SetValue { value: Value::Saturate, at: Elements::Count(30) }),
        (
            "mixture",
            FaultModel::Mixture(vec![
                FaultModel::BitFlip(Hits::Rate(rate(0.01))),
                FaultModel::BitFlip(Hits::Rate(rate(0.01))),
                FaultModel::StuckAt { value: true, at: Hits::Count(30) },
            ]),
        ),
    ]
}
