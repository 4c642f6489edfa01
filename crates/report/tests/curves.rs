//! The page of several campaigns.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod samples;

use bitquake_record::{Amount, Overview, Results, SummaryOptions};
use bitquake_report::{ReportError, curves_html};

fn named(name: &str, amounts: &[Amount]) -> Overview {
    let Results { golden, campaign, trials } = samples::results(name, amounts, 4, 4);
    Overview::of(golden, campaign, &trials, SummaryOptions::default()).unwrap()
}

fn page(campaigns: &[Overview]) -> Result<String, ReportError> {
    curves_html(&campaigns.iter().collect::<Vec<_>>())
}

#[test]
fn panels_curves_and_numbers() {
    let amounts = samples::rates(&[1e-5, 1e-4]);
    let campaigns = [
        named("8 bits - Normal", &amounts),
        named("8 bits - RandBET", &amounts[..1]),
        named("4 <bits>", &amounts),
    ];
    let page = page(&campaigns).unwrap();
    assert_eq!(page.matches("<svg class=\"plot\"").count(), 2, "one plot a panel");
    for curve in ["Normal", "RandBET"] {
        assert!(page.contains(&format!("<th scope=\"col\"><bdi>{curve}</bdi></th>")), "{curve}");
    }
    assert!(page.contains("4 &lt;bits&gt;") && !page.contains("4 <bits>"), "names are escaped");
    let point = &campaigns[0].points[0];
    let err = point.metric("err").unwrap();
    let mean = format!("{:.2}", 100.0 * err.summary.unwrap().mean);
    assert!(page.contains(&format!("<td>{mean}<br>")), "{mean}");
    let clean = format!("<td>{:.2}</td>", 100.0 * (1.0 - campaigns[0].golden.metrics.accuracy()));
    assert!(page.contains(&clean), "{clean}");
    // The second campaign has no trial at the second rate.
    assert_eq!(page.matches("<td>–</td>").count(), 1);
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
}

#[test]
fn what_has_no_common_picture_is_refused() {
    assert!(matches!(page(&[]), Err(ReportError::NoCampaigns)));
    let mixed = [named("x - a", &samples::rates(&[1e-5])), named("x - b", &[Amount::Count(1)])];
    let error = page(&mixed).unwrap_err().to_string();
    assert_eq!(error, "the campaigns of `x` have amounts of different kinds: rate and count");
    let many: Vec<Overview> = (0..13).map(|k| named(&format!("x - {k}"), &samples::rates(&[1e-5]))).collect();
    assert!(matches!(page(&many), Err(ReportError::TooManyCurves { curves: 13, most: 12, .. })));
    let mut distances = named("x", &samples::rates(&[1e-5]));
    distances.golden.distance = samples::all().into_iter().find_map(|(_, results)| results.golden.distance);
    match distances.golden.distance.is_some() {
        true => assert!(matches!(page(&[distances]), Err(ReportError::NotErrors { .. }))),
        false => unreachable!("a sample has distances"),
    }
}
