//! Maps and DRAM against looking at every bit, and the chips that were never built.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use bitquake_bits::{BitSelection, Format};
use bitquake_fault::*;
use bitquake_sample::{PartKey, Rate};
use bitquake_testing::assert_binomial;
use common::{FALSE_ALARM, TENSORS, chip, dram, key, listed, rate, space, space_of};

fn map(chip: ChipMap, voltage: Option<f64>, offset: Offset) -> FaultModel {
    FaultModel::Map(MapFaults { chip: Arc::new(chip), voltage, offset })
}

/// The bits of the tensors in the order of the line: (tensor, address, whether it may be hit).
fn line(space: &FaultSpace) -> Vec<(String, u64, bool)> {
    let bits = |tensor: &SpaceTensor| {
        let (name, mask, width) = (tensor.name.clone(), tensor.mask, u64::from(tensor.format.width()));
        (0..tensor.elements * width)
            .map(move |address| (name.clone(), address, mask >> (address % width) & 1 == 1))
    };
    space.tensors().iter().flat_map(bits).collect()
}

/// Cells that fail for certain or never, so that the faults are certain too.
fn certain_chip() -> ChipMap {
    let sure =
        |cell: &ChipCell| !matches!(cell.fault, CellFault::Flips { to_zero, .. } if to_zero < Rate::ONE);
    let cells = chip().cells().iter().copied().filter(sure).collect();
    ChipMap::new(chip().rows(), chip().columns(), cells).expect("a chip")
}

#[test]
fn a_map_lies_over_every_bit() {
    let chip = certain_chip();
    let cells = chip.rows() * chip.columns();
    for bits in [BitSelection::All, BitSelection::Msb] {
        let space = space_of(&TENSORS, bits);
        for voltage in [1.0, 0.85, 0.75, 0.6] {
            for offset in [0, 3, 76, 77, 1_000_000_007] {
                let mut want = Vec::new();
                for (place, (name, address, may)) in line(&space).into_iter().enumerate() {
                    let index = (place as u64 + offset) % cells;
                    let cell = chip.faulty_at(Some(voltage)).find(|cell| cell.index == index);
                    let effect = cell.filter(|_| may).map(|cell| match cell.fault {
                        CellFault::Stuck(value) => Effect::stuck_at(value),
                        CellFault::Flips { to_one, .. } if to_one == Rate::ONE => Effect::Flip,
                        CellFault::Flips { .. } => Effect::Fall,
                    });
                    want.extend(effect.map(|effect| (name, address, effect)));
                }
                want.sort();
                let faults = map(chip.clone(), Some(voltage), Offset::Fixed(offset)).draw(&space, &key(0));
                assert_eq!(listed(&faults.expect("faults")), want, "{bits} {voltage} {offset}");
            }
        }
    }
}

#[test]
fn a_map_larger_than_the_model_is_used_in_part() {
    let cell = |index| ChipCell { index, threshold: None, fault: CellFault::Stuck(true) };
    let chip = ChipMap::new(1 << 20, 1 << 20, [0, 5, 9, 1 << 30].map(cell).to_vec()).expect("a chip");
    let space = space_of(&[("w", Format::U8, 1)], BitSelection::All);
    let at = |offset| {
        let faults = map(chip.clone(), None, Offset::Fixed(offset)).draw(&space, &key(0)).expect("faults");
        listed(&faults).into_iter().map(|(_, address, _)| address).collect::<Vec<u64>>()
    };
    assert_eq!(at(0), [0, 5]);
    assert_eq!(at(3), [2, 6]);
    assert!(at(10).is_empty());
    assert_eq!(at((1 << 40) - 2), [2, 7], "the array repeats");
}

#[test]
fn offsets_follow_the_trial() {
    let at =
        |offset, trial| map(certain_chip(), Some(0.6), offset).draw(&space(), &key(trial)).expect("faults");
    let list = Offset::ByTrial(vec![4, 9, 30]);
    for trial in 0..7 {
        let want = Offset::Fixed([4, 9, 30][trial as usize % 3]);
        assert_eq!(at(list.clone(), trial), at(want, trial));
    }
    assert_eq!(at(Offset::ByTrial(Vec::new()), 5), at(Offset::Fixed(0), 5));
    let random: BTreeSet<_> = (0..50).map(|trial| listed(&at(Offset::Random, trial))).collect();
    assert!(random.len() > 20);
    assert!((0..77).any(|offset| at(Offset::Random, 0) == at(Offset::Fixed(offset), 0)));
}

#[test]
fn lower_voltages_add_faults() {
    for trial in 0..3 {
        let at = |voltage| {
            listed(&map(chip(), Some(voltage), Offset::Random).draw(&space(), &key(trial)).expect("faults"))
        };
        for pair in [0.95, 0.86, 0.82, 0.77, 0.72, 0.66, 0.5].windows(2) {
            let (less, more) = (at(pair[0]), at(pair[1]));
            assert!(less.len() < more.len() && less.iter().all(|fault| more.contains(fault)));
        }
    }
}

#[test]
fn cells_fail_with_their_probabilities() {
    let cell = ChipCell {
        index: 1,
        threshold: None,
        fault: CellFault::Flips { to_one: rate(0.3), to_zero: rate(0.05) },
    };
    let chip = ChipMap::new(1, 3, vec![cell]).expect("a chip");
    let space = space_of(&[("w", Format::U8, 30_000)], BitSelection::All);
    let faults = listed(&map(chip, None, Offset::Fixed(0)).draw(&space, &key(0)).expect("faults"));
    let count = |wanted| faults.iter().filter(|(_, _, effect)| *effect == wanted).count() as u64;
    assert!(faults.iter().all(|(_, address, _)| address % 3 == 1));
    assert_binomial(count(Effect::Flip), 80_000, 0.05, FALSE_ALARM);
    assert_binomial(count(Effect::Rise), 80_000, 0.25, FALSE_ALARM);
    assert_eq!(count(Effect::Fall), 0, "one random number decides both directions");
}

#[test]
fn voltages_and_thresholds_go_together() {
    let without = ChipMap::from_csv("size,2,2\nrow,column,p01\n0,0,1\n").expect("a chip");
    for (chip, voltage) in [(chip(), None), (without, Some(0.8)), (chip(), Some(f64::NAN))] {
        let error = map(chip, voltage, Offset::Random).draw(&space(), &key(0)).unwrap_err();
        assert!(matches!(error, DrawError::Voltage { .. }));
    }
}

#[test]
fn made_up_chips_have_their_rates() {
    let made = SyntheticChip { rows: 2000, columns: 100, ..SyntheticChip::default() };
    let made =
        SyntheticChip { lowest: 0.78, to_one_share: 0.7, stuck_share: 0.2, flip_probability: 0.5, ..made };
    let chip = made.make(&PartKey::from(key(0))).expect("a chip");
    let weak_columns: BTreeSet<u64> = {
        let mut counts = vec![0; 100];
        chip.cells().iter().for_each(|cell| counts[(cell.index % 100) as usize] += 1);
        let mut order: Vec<u64> = (0..100).collect();
        order.sort_by_key(|&column| std::cmp::Reverse(counts[column as usize]));
        order[..4].iter().copied().collect()
    };
    // Rates fall by a decade each 0.05: 1 % at 0.85, half of it in 4 of 100 columns.
    // At 0.8 all weak cells have failed, and the rest of a tenth of all is among the others.
    let full = (0.1 - 0.04) / 0.96;
    for (voltage, in_weak, in_others) in
        [(0.85, 0.125, 0.005 / 0.96), (0.9, 0.0125, 0.0005 / 0.96), (0.8, 1.0, full)]
    {
        let faulty: Vec<&ChipCell> = chip.faulty_at(Some(voltage)).collect();
        let weak = faulty.iter().filter(|cell| weak_columns.contains(&(cell.index % 100))).count() as u64;
        assert_binomial(weak, 8_000, in_weak, FALSE_ALARM);
        assert_binomial(faulty.len() as u64 - weak, 192_000, in_others, FALSE_ALARM);
    }
    let all = chip.cells().len() as u64;
    let count =
        |wanted: fn(&ChipCell) -> bool| chip.cells().iter().filter(|cell| wanted(cell)).count() as u64;
    assert_binomial(count(|cell| matches!(cell.fault, CellFault::Stuck(_))), all, 0.2, FALSE_ALARM);
    let to_one = count(|cell| match cell.fault {
        CellFault::Stuck(value) => value,
        CellFault::Flips { to_one, .. } => to_one.fraction() == 0.5,
    });
    assert_binomial(to_one, all, 0.7, FALSE_ALARM);
}

#[test]
fn a_made_up_chip_has_the_share_of_faults_that_it_says_down_to_where_all_cells_fail() {
    let base = SyntheticChip { rows: 1000, columns: 64, lowest: 0.7, ..SyntheticChip::default() };
    for (weak_columns, weak_rows, weak_share) in
        [(0, 0, 0.5), (1, 0, 0.5), (4, 64, 0.9), (4, 0, 0.01), (32, 0, 0.0), (4, 0, 1.0), (64, 0, 0.3)]
    {
        let made = SyntheticChip { weak_columns, weak_rows, weak_share, ..base.clone() };
        let chip = made.make(&PartKey::from(key(3))).expect("a chip");
        for (voltage, share) in
            [(0.9, 0.001), (0.85, 0.01), (0.8, 0.1), (0.77, 10_f64.powf(-0.4)), (0.7499, 1.0)]
        {
            let faulty = chip.faulty_at(Some(voltage)).count() as u64;
            assert_binomial(faulty, 64_000, share, FALSE_ALARM);
        }
    }
}

#[test]
fn weak_stretches_are_short_runs_of_columns() {
    let made = SyntheticChip {
        rows: 100,
        columns: 20,
        weak_columns: 3,
        weak_rows: 10,
        weak_share: 1.0,
        rate: 1e-3, // a hundredth at the lowest voltage: fewer than the weak cells
        ..SyntheticChip::default()
    };
    let chip = made.make(&PartKey::from(key(1))).expect("a chip");
    let columns: BTreeSet<u64> = chip.cells().iter().map(|cell| cell.index % 20).collect();
    assert!((1..=3).contains(&columns.len()) && chip.cells().len() > 10);
    for column in columns {
        let rows: Vec<u64> = chip
            .cells()
            .iter()
            .filter(|cell| cell.index % 20 == column)
            .map(|cell| cell.index / 20)
            .collect();
        let span = |start: u64| rows.iter().map(|row| (row + 100 - start) % 100).max().unwrap_or(0);
        assert!(rows.iter().any(|&start| span(start) < 10), "{rows:?}");
    }
}

#[test]
fn a_lower_lowest_voltage_or_a_higher_rate_adds_cells() {
    let cells = |made: SyntheticChip| made.make(&PartKey::from(key(2))).expect("a chip").cells().to_vec();
    let base = cells(SyntheticChip::default());
    let deeper = cells(SyntheticChip { lowest: 0.7, ..SyntheticChip::default() });
    assert!(base.len() < deeper.len() && base.iter().all(|cell| deeper.contains(cell)));
    let index = |cells: &[ChipCell]| cells.iter().map(|cell| cell.index).collect::<BTreeSet<u64>>();
    let more = cells(SyntheticChip { rate: 0.02, ..SyntheticChip::default() });
    assert!(index(&base).is_subset(&index(&more)));
}

#[test]
fn made_up_chips_are_pinned() {
    let chip = SyntheticChip::default().make(&PartKey::from(key(0))).expect("a chip");
    let first: Vec<(u64, Option<u64>)> =
        chip.cells()[..3].iter().map(|cell| (cell.index, cell.threshold.map(f64::to_bits))).collect();
    let want =
        [(6, 4_605_398_036_343_920_609), (24, 4_605_397_464_692_743_158), (26, 4_605_401_773_076_968_556)];
    assert_eq!((chip.cells().len(), first), (3281, want.map(|(index, bits)| (index, Some(bits))).to_vec()));
}

#[test]
fn chips_that_cannot_be_made() {
    let make = |made: SyntheticChip| made.make(&PartKey::from(key(0))).unwrap_err().to_string();
    let base = SyntheticChip::default();
    let cases = [
        (SyntheticChip { rows: 0, ..base.clone() }, "0 rows"),
        (SyntheticChip { rows: 1 << 40, ..base.clone() }, "2^30"),
        (SyntheticChip { rate: 0.0, ..base.clone() }, "rate is 0: it must be above 0"),
        (SyntheticChip { rate: f64::NAN, ..base.clone() }, "rate is NaN"),
        (SyntheticChip { lowest: 2.0, ..base.clone() }, "lowest is 2"),
        (SyntheticChip { weak_columns: 65, ..base.clone() }, "65 weak columns"),
        (SyntheticChip { stuck_share: 1.5, ..base.clone() }, "stuck_share is 1.5"),
        (SyntheticChip { decades_per_volt: -1.0, ..base }, "decades_per_volt is -1"),
    ];
    for (made, want) in cases {
        let error = make(made);
        assert!(error.contains(want), "{error}");
    }
}

/// What identifies a structure: the levels that it fixes, and the device.
fn structure_of(place: DramPlace, structure: Structure, scope: Scope) -> [u64; 6] {
    let DramPlace { channel, rank, bank, row, column, device, .. } = place;
    let any = u64::MAX;
    let device = if scope == Scope::OneDevice { device } else { any };
    match structure {
        Structure::Row => [channel, rank, bank, row, any, device],
        Structure::Column => [channel, rank, bank, any, column, device],
        Structure::Bank => [channel, rank, bank, any, any, device],
        Structure::Device => [channel, rank, any, any, any, device],
    }
}

#[test]
fn structures_fail_as_a_whole() {
    let orders = [
        dram().order,
        [Level::Channel, Level::Row, Level::Bank, Level::Column, Level::Rank],
        [Level::Bank, Level::Rank, Level::Column, Level::Channel, Level::Row],
    ];
    for (order, align, bits) in [
        (orders[0], 1, BitSelection::All),
        (orders[1], 64, BitSelection::All),
        (orders[2], 100, BitSelection::Range { low: 2, high: 6 }),
    ] {
        let space = space_of(&TENSORS, bits);
        let geometry = DramGeometry { order, ..dram() };
        let mut place_of = std::collections::BTreeMap::new();
        let mut start: u64 = 0;
        for tensor in space.tensors() {
            start = start.next_multiple_of(align * 8);
            let width = u64::from(tensor.format.width());
            for address in 0..tensor.elements * width {
                if tensor.mask >> (address % width) & 1 == 1 {
                    let place = geometry.place(start + address).expect("inside");
                    place_of.insert((tensor.name.clone(), address), place);
                }
            }
            start += tensor.elements * width;
        }
        for structure in [Structure::Row, Structure::Column, Structure::Bank, Structure::Device] {
            for scope in [Scope::OneDevice, Scope::AllDevices] {
                let fault = |amount, each| {
                    let fault =
                        DramFault { geometry, align, scope, amount, each, ..DramFault::one(structure) };
                    FaultModel::Dram(fault).draw(&space, &key(7)).map(|faults| listed(&faults))
                };
                let failed = |amount| -> BTreeSet<[u64; 6]> {
                    let hit = fault(amount, Rate::ONE).expect("faults");
                    let hit: BTreeSet<(String, u64)> =
                        hit.into_iter().map(|(name, address, _)| (name, address)).collect();
                    let of = |site| structure_of(place_of[site], structure, scope);
                    let failed: BTreeSet<[u64; 6]> = hit.iter().map(of).collect();
                    let want: BTreeSet<_> =
                        place_of.keys().filter(|site| failed.contains(&of(site))).cloned().collect();
                    assert_eq!(hit, want, "{structure:?} {scope:?} {order:?}");
                    failed
                };
                let one = failed(Amount::Count(1));
                assert!(one.len() <= 1 && one.is_subset(&failed(Amount::Count(2))));
                assert!(failed(Amount::Rate(rate(0.2))).is_subset(&failed(Amount::Rate(rate(0.6)))));
                assert_eq!(fault(Amount::Rate(Rate::ONE), Rate::ONE).expect("faults").len(), place_of.len());
                assert!(fault(Amount::Rate(Rate::ZERO), Rate::ONE).expect("faults").is_empty());
                let half = fault(Amount::Rate(Rate::ONE), rate(0.5)).expect("faults").len() as u64;
                assert_binomial(half, place_of.len() as u64, 0.5, FALSE_ALARM);
            }
        }
    }
}

#[test]
fn memories_that_do_not_fit() {
    let draw = |fault: DramFault| FaultModel::Dram(fault).draw(&space(), &key(0)).unwrap_err();
    let row = DramFault { geometry: dram(), ..DramFault::one(Structure::Row) };
    let small = DramGeometry { rows: 4, ..dram() };
    let error = draw(DramFault { geometry: small, ..row.clone() });
    assert!(matches!(error, DrawError::MemoryTooSmall { needed: 42_816, capacity: 16_384 }), "{error:?}");
    assert!(matches!(draw(DramFault { align: 0, ..row.clone() }), DrawError::Alignment { align: 0 }));
    let none = DramGeometry { banks: 0, ..dram() };
    assert!(matches!(draw(DramFault { geometry: none, ..row.clone() }), DrawError::Geometry(_)));
    let all = DramFault { amount: Amount::Count(1000), ..row };
    assert!(matches!(draw(all), DrawError::TooMany { what: "parts of the memory", .. }));
}
