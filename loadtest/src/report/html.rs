//! Reports as one page that needs nothing else: figures and plots.

use super::columns::{labelled, number};
use super::plot::{Axis, Line, Scale, figure};
use super::table::{names, testimony, verdict};
use super::{Report, Run, Tick, TickSide, against};
use crate::pairs::Comparison;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --grid: #d9dce1; --dim: #5c6370;
  --c0: #1662c4; --c1: #c2571a; --c2: #23824a; --c3: #7c4bb5; --bad: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --paper: #15171b; --grid: #343941; --dim: #9aa2ae;
    --c0: #6aa9ff; --c1: #f29a5c; --c2: #62c98b; --c3: #bd94ee; --bad: #ff8a80 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; padding: 0 1rem; max-width: 86rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-top: 1px solid var(--grid); padding-top: 1rem }
code, .dim, figcaption { color: var(--dim) } code { overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .15rem .9rem; text-align: right; border-bottom: 1px solid var(--grid) }
th:first-child { text-align: left; font-weight: normal; padding-left: 0 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)); gap: 1rem }
figure { margin: 0 } svg { width: 100%; height: auto } svg text { font-size: 12px; fill: var(--dim) }
svg [stroke=\"#D9DCE1\"] { stroke: var(--grid) } svg [stroke=\"#1662C4\"] { stroke: var(--c0) }
svg [stroke=\"#C2571A\"] { stroke: var(--c1) } svg [stroke=\"#23824A\"] { stroke: var(--c2) }
svg [stroke=\"#7C4BB5\"] { stroke: var(--c3) } svg [stroke=\"#5C6370\"] { stroke: var(--dim) }
figure ul { display: flex; flex-wrap: wrap; gap: 0 1.2rem; margin: 0; padding: 0; list-style: none; font-size: 13px }
li::before { content: \"\\25CF \" }
li.c0::before { color: var(--c0) } li.c1::before { color: var(--c1) } li.c2::before { color: var(--c2) }
li.c3::before { color: var(--c3) } li.c4::before { color: var(--dim) }
.bad { color: var(--bad); font-weight: 600 }
";

/// The colours of Redis and of the clients; the sides have those before.
const REDIS_COLOUR: usize = 3;
const CLIENTS_COLOUR: usize = 4;

pub(crate) fn render(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Taskcast load test</title>\
         <style>{STYLE}</style></head><body>\n<h1>Taskcast load test</h1>\n\
         <p><code>{}</code><br><span class=\"dim\">loadtest {} on {}</span></p>\n",
        escape(&report.command),
        escape(&report.version),
        escape(&report.machine)
    );
    report.runs.iter().for_each(|run| page.push_str(&section(run)));
    report.comparisons.iter().for_each(|comparison| page.push_str(&pairs(comparison)));
    page + "</body></html>\n"
}

fn paragraph(verdict: &str, fine: bool) -> String {
    let class = if fine { "" } else { " class=\"bad\"" };
    format!("<p{class}>{}</p>\n", escape(verdict.trim()))
}

fn section(run: &Run) -> String {
    let settings: Vec<_> =
        run.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let mut html = format!(
        "<h2>{}</h2>\n<p class=\"dim\">{}</p>\n",
        escape(&run.scenario),
        escape(&settings.join(", "))
    );
    for side in &run.sides {
        let complete = run.end.is_complete();
        let line = verdict(&side.name, &side.checks, &run.end);
        html.push_str(&paragraph(&line, complete && side.checks.are_fine(complete)));
        if let Some(witness) = &side.witness {
            let fine = complete && witness.checks.are_fine(complete);
            html.push_str(&paragraph(&testimony(witness, &run.end), fine));
        }
    }
    html.push_str(&figures(run));
    for note in &run.notes {
        html.push_str(&format!("<p class=\"dim\">{}</p>\n", escape(note)));
    }
    html.push_str("<div class=\"plots\">\n");
    html.push_str(&latency_plot(run));
    if !run.ticks.is_empty() {
        html.push_str(&plots_over_time(run));
    }
    html + "</div>\n"
}

/// Two servers that took turns.
fn pairs(comparison: &Comparison) -> String {
    let mut html = format!(
        "<h2>{}</h2>\n<p class=\"dim\">{}</p>\n",
        escape(&comparison.scenario),
        escape(&against::title(comparison))
    );
    for line in against::verdicts(comparison) {
        html.push_str(&paragraph(&line, comparison.is_fine()));
    }
    html.push_str("<div class=\"scroll\"><table>\n");
    for row in against::rows(comparison) {
        let cells = row.iter().map(|cell| format!("<th>{}</th>", escape(cell)));
        html.push_str(&format!("<tr>{}</tr>\n", cells.collect::<String>()));
    }
    html + "</table></div>\n"
}

fn figures(run: &Run) -> String {
    let mut html = String::from("<div class=\"scroll\"><table><tr><th></th>");
    run.sides.iter().for_each(|side| html.push_str(&format!("<th>{}</th>", escape(&side.name))));
    html.push_str("</tr>\n");
    for (name, unit) in names(&run.sides) {
        html.push_str(&format!("<tr><th>{}</th>", escape(&labelled(name, unit))));
        for side in &run.sides {
            let value = side.value(name).map_or("&ndash;".into(), number);
            html.push_str(&format!("<td>{value}</td>"));
        }
        html.push_str("</tr>\n");
    }
    html + "</table></div>\n"
}

/// The distribution: each step to the right is a tenth of the deliveries that are left.
fn latency_plot(run: &Run) -> String {
    let rarity = |quantile: f64| -(1.0 - quantile).log10();
    let lines: Vec<Line> = run
        .sides
        .iter()
        .enumerate()
        .filter(|(_, side)| !side.curve.is_empty())
        .map(|(colour, side)| Line {
            name: escape(format!("{} {}", side.name, side.latency_of).trim()),
            colour,
            points: side.curve.iter().map(|(q, us)| (rarity(*q), *us as f64 / 1000.0)).collect(),
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let percentile = |rarity: f64| {
        let text = format!("{:.5}", 100.0 * (1.0 - 10f64.powf(-rarity)));
        text.trim_end_matches('0').trim_end_matches('.').into()
    };
    let x = Axis { label: percentile, ..Axis::new("percentile", Scale::Linear) };
    let y = Axis::new("latency, ms", Scale::Logarithmic);
    figure("Latency from when an update was due until a viewer had it", &x, &y, &lines)
}

fn plots_over_time(run: &Run) -> String {
    let sides = |pick: fn(&TickSide) -> f64| -> Vec<Line> {
        let line = |(number, side): (usize, &super::Side)| Line {
            name: escape(&side.name),
            colour: number,
            points: series(run, |tick| tick.sides.get(number).map(pick)),
        };
        run.sides.iter().enumerate().map(line).collect()
    };
    let seconds = || Axis::new("seconds", Scale::Linear);
    let linear = |title| Axis::new(title, Scale::Linear);
    let mut cpu = sides(|side| side.cpu * 100.0);
    for (name, colour, pick) in [
        ("Redis", REDIS_COLOUR, (|tick| tick.redis_cpu) as fn(&Tick) -> f64),
        ("clients", CLIENTS_COLOUR, |tick| tick.clients_cpu),
    ] {
        let points = series(run, |tick| Some(pick(tick) * 100.0));
        cpu.push(Line { name: name.into(), colour, points });
    }
    let busy =
        |side: &TickSide| if side.p99_us > 0 { side.p99_us as f64 / 1000.0 } else { f64::NAN };
    let mut p99 = sides(busy);
    p99.iter_mut().for_each(|line| line.points.retain(|(_, ms)| ms.is_finite()));
    [
        figure(
            "Throughput",
            &seconds(),
            &linear("deliveries per second"),
            &sides(|s| s.deliveries_per_s),
        ),
        figure("CPU", &seconds(), &linear("% of a core"), &cpu),
        figure("Latency p99", &seconds(), &Axis::new("ms", Scale::Logarithmic), &p99),
        figure("Memory", &seconds(), &linear("resident MiB"), &sides(|s| s.resident_mib)),
    ]
    .concat()
}

fn series(run: &Run, pick: impl Fn(&Tick) -> Option<f64>) -> Vec<(f64, f64)> {
    run.ticks.iter().filter_map(|tick| Some((tick.second, pick(tick)?))).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::plot::COLOURS;
    use super::*;
    use crate::report::Side;
    use plotters::style::RGBColor;

    #[test]
    fn the_page_needs_nothing_else_and_escapes_what_it_shows() {
        let tick =
            TickSide { deliveries_per_s: 5.0, cpu: 0.1, resident_mib: 2.0, p50_us: 1, p99_us: 9 };
        let mut side = Side::new("<server>");
        side.measure("CPU per delivery", "us", 5.0);
        side.curve = vec![(0.0, 10), (0.9, 100)];
        let run = Run {
            scenario: "hot".into(),
            sides: vec![side],
            ticks: vec![Tick { second: 1.0, sides: vec![tick], redis_cpu: 0.1, clients_cpu: 0.2 }],
            ..Run::default()
        };
        let command = "loadtest hot --json \"<b>\"".to_string();
        let report = Report {
            version: "1".into(),
            command,
            machine: "m".into(),
            runs: vec![run],
            comparisons: Vec::new(),
        };
        let page = render(&report);
        assert!(page.contains("&lt;server&gt;") && !page.contains("<server>"));
        assert!(!page.contains("<b>") && !page.contains("http") && !page.contains("NaN"));
        assert_eq!(page.matches("<svg").count(), 5);
        for RGBColor(r, g, b) in COLOURS {
            let colour = format!("[stroke=\"#{r:02X}{g:02X}{b:02X}\"]");
            assert!(STYLE.contains(&colour), "the page does not know {colour}");
        }
    }
}
