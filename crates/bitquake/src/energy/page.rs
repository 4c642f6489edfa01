//! The files that people read.

use bitquake_energy::{Lowest, Placed, Reads, Trade};
use bitquake_record::csv::quoted;
use bitquake_report::{TradeCurve, TradeInput, TradePoint, TradeTable};

use super::{Budget, EnergyResults};

const VERDICT: &str = "Test error of the faulty networks (mean over trials, with its interval) against the energy of an inference. The grey steps are \
     the front: points that no other beats by less energy and a lower error. The last mark of each curve is the network with reliable accesses.";

/// What energies are told in.
struct Unit {
    /// Reliable accesses to a bit in one unit.
    accesses: f64,
    name: &'static str,
}

impl Unit {
    fn of(results: &EnergyResults) -> Self {
        match results.file.access.picojoules_per_bit {
            Some(energy) => Self { accesses: 1e6 / energy, name: "µJ" },
            None => Self { accesses: 1e6, name: "million reliable reads of a bit" },
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A row a point, energies in reliable accesses to a bit and, if their energy is given, in picojoules.
pub(super) fn csv(results: &EnergyResults, trade: &Trade) -> String {
    let mut text = String::from(
        "model,rate,voltage,access_energy,inference_energy,picojoules,err,err_ci_lo,err_ci_hi,on_front,beaten\n",
    );
    let per_bit = results.file.access.picojoules_per_bit;
    for point in &trade.points {
        let of_kind = |kind: &str| {
            let amount =
                point.measured.map(|measured| measured.amount).filter(|amount| amount.kind() == kind);
            amount.map_or_else(String::new, |amount| amount.value().to_string())
        };
        let ends = point.measured.and_then(|measured| measured.interval);
        let [lo, hi] = [ends.map(|ends| ends.lo), ends.map(|ends| ends.hi)]
            .map(|end| end.map_or_else(String::new, |end| end.to_string()));
        let joules = per_bit.map_or_else(String::new, |per_bit| (per_bit * point.inference).to_string());
        let name = &trade.contenders[point.contender].name;
        let (rate, voltage) = (of_kind("rate"), of_kind("voltage"));
        text += &format!(
            "{},{rate},{voltage},{},{},{joules},{},{lo},{hi},{},{}\n",
            quoted(name),
            point.access,
            point.inference,
            point.error,
            point.is_on_front,
            point.is_beaten
        );
    }
    text
}

/// The page: the picture, the budgets, and every number.
pub(super) fn page<'a>(results: &'a EnergyResults, trade: &Trade) -> TradeInput<'a> {
    let unit = Unit::of(results);
    let curve = |(place, contender): (usize, &bitquake_energy::Contender)| TradeCurve {
        name: contender.name.clone(),
        points: trade
            .points
            .iter()
            .filter(|point| point.contender == place)
            .map(|point| drawn(point, &unit))
            .collect(),
    };
    let budgets = results.budget.iter().map(|budget| budget_table(budget, trade, &unit));
    TradeInput {
        bitquake: env!("CARGO_PKG_VERSION"),
        over: "bitquake energy",
        title: &results.file.name,
        verdict: VERDICT,
        price: "energy",
        notes: notes(results, trade),
        axis: format!("energy of the weight accesses of an inference, in {}", unit.name),
        has_root_axis: false,
        curves: trade.contenders.iter().enumerate().map(curve).collect(),
        tables: budgets.chain([points_table(trade, &unit)]).collect(),
    }
}

fn drawn(point: &Placed, unit: &Unit) -> TradePoint {
    TradePoint {
        cost: point.inference / unit.accesses,
        error: point.error,
        ends: point.measured.and_then(|measured| measured.interval).map(|ends| [ends.lo, ends.hi]),
        is_on_front: point.is_on_front,
        what: point.setting(),
    }
}

fn notes(results: &EnergyResults, trade: &Trade) -> Vec<String> {
    let reads = match results.file.access.reads {
        Reads::Once => "An inference reads every stored bit of the weights once",
        Reads::EachUse => "An inference reads a stored weight as often as it uses it",
    };
    let safe = if trade.contenders.iter().any(|contender| contender.reading.safe > 0.0) {
        "; bits that the campaign spares lie in reliable memory, and cost 1"
    } else {
        ""
    };
    let mut notes = vec![
        format!("Energy of an access, relative to a reliable one: {}.", results.curve),
        format!("{reads}{safe}. Activations, and what computes, are not counted."),
    ];
    for (contender, outside) in
        trade.contenders.iter().zip(&trade.outside).filter(|(_, outside)| !outside.is_empty())
    {
        let points: Vec<String> = outside.iter().map(|point| point.amount.to_string()).collect();
        notes.push(format!(
            "{}: {} outside the curve, left out: {}.",
            contender.name,
            points.len(),
            points.join(", ")
        ));
    }
    notes.extend(results.warnings.iter().map(|warning| format!("Note: {warning}.")));
    notes
}

fn budget_table(budget: &Budget, trade: &Trade, unit: &Unit) -> TradeTable {
    let row = |lowest: &Lowest| {
        let contender = &trade.contenders[lowest.contender];
        let reliable = contender.reading.energy(1.0);
        let energy = |energy: f64| format!("{:.3} ({})", energy / unit.accesses, percent(energy / reliable));
        let measured = lowest.measured.map_or_else(
            || ["none".to_owned(), String::new(), String::new()],
            |point| [point.setting(), energy(point.inference), percent(point.error)],
        );
        let crossing = lowest.crossing.map_or_else(
            || "the clean error exceeds it".to_owned(),
            |crossing| crossing.shown(unit.accesses, 3),
        );
        let [what, at, error] = measured;
        vec![
            contender.name.clone(),
            percent(contender.clean),
            percent(lowest.most_error),
            what,
            at,
            error,
            crossing,
        ]
    };
    TradeTable {
        title: format!("The lowest energy within a loss of {:.2} percentage points", 100.0 * budget.loss),
        caption: format!(
            "Measured: the point furthest down whose whole interval, and those of all points above it, stay within. Reached: where the mean \
             error meets the limit, linear between points, and where the ends of its interval do. Energies in {}; in brackets the share \
             of that with reliable accesses.",
            unit.name
        ),
        head: ["network", "clean error", "limit", "measured", "energy", "error", "reached at"]
            .map(str::to_owned)
            .to_vec(),
        rows: budget.lowest.iter().map(row).collect(),
    }
}

fn points_table(trade: &Trade, unit: &Unit) -> TradeTable {
    let row = |point: &Placed| {
        let interval = point.measured.and_then(|measured| measured.interval);
        let interval =
            interval.map_or_else(String::new, |ends| format!("{} – {}", percent(ends.lo), percent(ends.hi)));
        let rank = match (point.is_on_front, point.is_beaten) {
            (true, _) => "on the front",
            (false, true) => "beaten",
            (false, false) => "behind, not for certain",
        };
        vec![
            trade.contenders[point.contender].name.clone(),
            point.setting(),
            format!("{:.4}", point.access),
            format!("{:.4}", point.inference / unit.accesses),
            percent(point.error),
            interval,
            rank.to_owned(),
        ]
    };
    TradeTable {
        title: "All points".into(),
        caption: format!("By network and energy, in {}.", unit.name),
        head: ["network", "setting", "access", "inference", "error", "interval", "rank"]
            .map(str::to_owned)
            .to_vec(),
        rows: trade.points.iter().map(row).collect(),
    }
}
