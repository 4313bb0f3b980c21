//! Line plots as inline SVG. Colours come from the page, so that they follow light and dark.

use super::columns::number;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Room for the labels: left, bottom; right, top.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 44.0;
const MARGIN: f64 = 26.0;

/// A named line of points.
pub(crate) struct Line {
    pub(crate) name: String,
    /// The number of its colour on the page.
    pub(crate) colour: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What an axis shows.
pub(crate) struct Axis {
    pub(crate) title: &'static str,
    pub(crate) scale: Scale,
    /// Places that get a label; chosen by the plot when empty.
    pub(crate) labels: Vec<(f64, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    Logarithmic,
}

impl Axis {
    pub(crate) fn new(title: &'static str, scale: Scale) -> Self {
        Self { title, scale, labels: Vec::new() }
    }

    /// The range to show: the values', widened to whole steps.
    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        match self.scale {
            _ if !self.labels.is_empty() => {
                let ends = self.labels.iter().map(|(at, _)| *at);
                (ends.clone().fold(low, f64::min), ends.fold(high, f64::max))
            }
            Scale::Linear => (0.0, if high > 0.0 { steps(high).1 } else { 1.0 }),
            Scale::Logarithmic if high > 0.0 => {
                let low = 10f64.powf(low.max(1e-6).log10().floor());
                (low, 10f64.powf(high.log10().ceil()).max(low * 10.0))
            }
            Scale::Logarithmic => (1.0, 10.0),
        }
    }

    fn labels(&self, (low, high): (f64, f64)) -> Vec<(f64, String)> {
        if !self.labels.is_empty() {
            return self.labels.clone();
        }
        let label = |at: f64| (at, tidy(at));
        match self.scale {
            Scale::Linear => {
                let step = steps(high).0;
                (0..=(high / step).round() as u32).map(|n| label(f64::from(n) * step)).collect()
            }
            Scale::Logarithmic => {
                let decades = (high / low).log10().round() as i32;
                (0..=decades).map(|decade| label(low * 10f64.powi(decade))).collect()
            }
        }
    }

    /// Where a value lies between the ends of the axis, from 0 to 1.
    fn place(&self, (low, high): (f64, f64), value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - low) / (high - low).max(f64::MIN_POSITIVE),
            Scale::Logarithmic => (value.max(low) / low).log10() / (high / low).log10(),
        }
    }
}

/// A label without zeros that say nothing.
fn tidy(value: f64) -> String {
    let text = number(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// A round step, and the multiple of it that is not below `high`.
fn steps(high: f64) -> (f64, f64) {
    const STEPS_MAX: f64 = 5.0;
    let power = 10f64.powf((high / STEPS_MAX).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| high / step <= STEPS_MAX)
        .unwrap_or(high);
    (step, (high / step).ceil() * step)
}

/// A figure with a caption and a legend.
pub(crate) fn figure(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let values =
        |pick: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|line| line.points.iter()).map(pick);
    let (x_range, y_range) = (x.range(values(|p| p.0)), y.range(values(|p| p.1)));
    let x_at = |value| LEFT + x.place(x_range, value) * (WIDTH - LEFT - MARGIN);
    let y_at = |value| HEIGHT - BOTTOM - y.place(y_range, value) * (HEIGHT - BOTTOM - MARGIN);
    let mut svg = format!(
        "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    let (right, floor) = (WIDTH - MARGIN, HEIGHT - BOTTOM);
    for (at, label) in y.labels(y_range) {
        let at = y_at(at);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            at + 4.0
        ));
    }
    for (at, label) in x.labels(x_range) {
        let at = x_at(at);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{MARGIN}\" y2=\"{floor}\"/>\
             <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{label}</text>",
            floor + 16.0
        ));
    }
    svg.push_str(&titles(x, y));
    for Line { name, colour, points } in lines {
        let points: Vec<_> =
            points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_at(*x), y_at(*y))).collect();
        svg.push_str(&format!(
            "<polyline class=\"c{colour}\" points=\"{}\"><title>{name}</title></polyline>",
            points.join(" ")
        ));
    }
    svg.push_str("</svg><ul>");
    for Line { name, colour, .. } in lines {
        svg.push_str(&format!("<li class=\"c{colour}\">{name}</li>"));
    }
    svg + "</ul></figure>\n"
}

fn titles(x: &Axis, y: &Axis) -> String {
    let (x_middle, y_middle) = (LEFT + (WIDTH - LEFT) / 2.0, (HEIGHT - BOTTOM) / 2.0);
    format!(
        "<text x=\"{x_middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(12 {y_middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        HEIGHT - 6.0,
        x.title,
        y.title
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_reach_the_top() {
        assert_eq!(steps(10.0), (2.0, 10.0));
        assert_eq!(steps(7.3), (2.0, 8.0));
        assert_eq!(steps(0.9), (0.2, 1.0));
    }

    #[test]
    fn a_plot_without_values_is_still_a_plot() {
        let line = Line { name: "none".into(), colour: 0, points: Vec::new() };
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let svg =
                figure("t", &Axis::new("x", scale), &Axis::new("y", scale), &[line_of(&line)]);
            assert!(svg.ends_with("</figure>\n") && !svg.contains("NaN") && !svg.contains("inf"));
        }
    }

    fn line_of(line: &Line) -> Line {
        Line { name: line.name.clone(), colour: line.colour, points: line.points.clone() }
    }

    #[test]
    fn points_stay_within_the_plot() {
        let points = vec![(0.0, 0.0), (1.0, 123.0), (9.0, 77.0)];
        let line = Line { name: "l".into(), colour: 0, points };
        let svg =
            figure("t", &Axis::new("x", Scale::Linear), &Axis::new("y", Scale::Linear), &[line]);
        let points = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next());
        for point in points.expect("a polyline").split(' ') {
            let (x, y) = point.split_once(',').expect("x,y");
            let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
            assert!((LEFT..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{point}");
        }
    }
}
