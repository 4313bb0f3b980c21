//! The text that metrics are shown as.

use std::collections::HashSet;

use super::*;

fn rendered(metrics: &Metrics) -> String {
    metrics.render(&Gauges::new("tracking", Account::new(1000)))
}

#[test]
fn the_age_histogram_is_cumulative() {
    let metrics = Metrics::new(2);
    metrics.workers[0].observe_age(1, 10);
    metrics.workers[1].observe_age(30, 5);
    metrics.workers[1].observe_age(1_000_000, 1);
    let text = rendered(&metrics);
    assert!(text.contains("taskcast_entry_age_seconds_bucket{le=\"0.001\"} 10\n"), "{text}");
    assert!(text.contains("taskcast_entry_age_seconds_bucket{le=\"0.05\"} 15\n"), "{text}");
    assert!(text.contains("taskcast_entry_age_seconds_bucket{le=\"+Inf\"} 16\n"), "{text}");
    assert!(text.contains("taskcast_entry_age_seconds_count 16\n"), "{text}");
}

#[test]
fn closes_are_counted_by_code() {
    let metrics = Metrics::new(1);
    metrics.workers[0].count_close(1012);
    metrics.workers[0].count_close(4999);
    let text = rendered(&metrics);
    assert!(text.contains("taskcast_closes_total{code=\"1012\"} 1\n"), "{text}");
    assert!(text.contains("taskcast_closes_total{code=\"other\"} 1\n"), "{text}");
}

#[test]
fn what_is_held_is_shown_by_its_kind() {
    let mut gauges = Gauges::new("tracking", Account::new(1000));
    let _held = gauges.account.charge(Held::Bodies, 7);
    gauges.memory_bytes_max = gauges.account.bytes_max() as u64;
    let text = Metrics::new(1).render(&gauges);
    assert!(text.contains("taskcast_memory_bytes{kind=\"bodies\"} 7\n"), "{text}");
    assert!(text.contains("taskcast_memory_bytes{kind=\"chunks\"} 0\n"), "{text}");
    assert!(text.contains("taskcast_memory_bytes_max 1000\n"), "{text}");
}

#[test]
fn each_metric_is_declared_once_and_as_prometheus_wants_it() {
    let mut names = HashSet::new();
    for Metric { name, kind, help, .. } in table() {
        assert!(names.insert(name), "{name} twice");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(help.ends_with('.') && !help.contains(['|', '\n', '\\']), "{help}");
    }
}
