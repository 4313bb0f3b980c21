//! Line plots as inline SVG. The page knows their colours, and exchanges them where it is dark.

use super::columns::number;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;
use std::ops::Range;

const SIZE: (u32, u32) = (640, 240);
/// Room for the labels.
const LEFT: u32 = 64;
const BOTTOM: u32 = 44;
const MARGIN: u32 = 14;
const LABELS: usize = 6;
const FONT: (&str, u32) = ("sans-serif", 15);
const GRID: RGBColor = RGBColor(0xd9, 0xdc, 0xe1);

/// The colours of lines, by their numbers.
pub(super) const COLOURS: [RGBColor; 5] = [
    RGBColor(0x16, 0x62, 0xc4),
    RGBColor(0xc2, 0x57, 0x1a),
    RGBColor(0x23, 0x82, 0x4a),
    RGBColor(0x7c, 0x4b, 0xb5),
    RGBColor(0x5c, 0x63, 0x70),
];

/// A named line of points.
pub(crate) struct Line {
    pub(crate) name: String,
    /// The number of its colour.
    pub(crate) colour: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What an axis shows.
pub(crate) struct Axis {
    pub(crate) title: &'static str,
    pub(crate) scale: Scale,
    /// What is written at a value.
    pub(crate) label: fn(f64) -> String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    Logarithmic,
}

impl Axis {
    pub(crate) fn new(title: &'static str, scale: Scale) -> Self {
        Self { title, scale, label: tidy }
    }

    /// What to show so that all values are in it: from zero, or whole decades.
    fn range(&self, values: impl Iterator<Item = f64>) -> Range<f64> {
        let (low, high) = values.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| {
            (low.min(value), high.max(value))
        });
        match self.scale {
            Scale::Linear => 0.0..if high > 0.0 { high } else { 1.0 },
            Scale::Logarithmic if high > 0.0 => {
                let low = 10f64.powf(low.max(1e-6).log10().floor());
                low..10f64.powf(high.log10().ceil()).max(low * 10.0)
            }
            Scale::Logarithmic => 1.0..10.0,
        }
    }
}

/// A label without zeros that say nothing.
fn tidy(value: f64) -> String {
    let text = number(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// A figure with a caption and a legend. The first axis is linear.
pub(crate) fn figure(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let values = |pick: fn(&(f64, f64)) -> f64| {
        lines.iter().flat_map(|line| &line.points).map(pick).filter(|value| value.is_finite())
    };
    let (x_range, y_range) = (x.range(values(|p| p.0)), y.range(values(|p| p.1)));
    let drawn = match y.scale {
        Scale::Linear => draw(x, x_range, y, y_range, lines),
        Scale::Logarithmic => draw(x, x_range, y, y_range.log_scale(), lines),
    };
    // Within a page it needs neither a size nor the name of its language.
    let body =
        drawn.as_deref().ok().and_then(|svg| Some(svg.split_once('>')?.1)).unwrap_or("</svg>");
    let (width, height) = SIZE;
    let mut figure = format!(
        "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"{title}\">{body}<ul>"
    );
    for Line { name, colour, .. } in lines {
        figure.push_str(&format!("<li class=\"c{colour}\">{name}</li>"));
    }
    figure + "</ul></figure>\n"
}

fn draw<Y>(
    x: &Axis,
    x_range: Range<f64>,
    y: &Axis,
    y_range: Y,
    lines: &[Line],
) -> Result<String, Box<dyn Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .x_label_area_size(BOTTOM)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(x_range, y_range)
        .map_err(|error| error.to_string())?;
    chart
        .configure_mesh()
        .label_style(FONT)
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .x_desc(x.title)
        .y_desc(y.title)
        .x_labels(LABELS)
        .y_labels(LABELS)
        .x_label_formatter(&|value| (x.label)(*value))
        .y_label_formatter(&|value| (y.label)(*value))
        .draw()
        .map_err(|error| error.to_string())?;
    for Line { colour, points, .. } in lines {
        let points = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
        let style = COLOURS[colour % COLOURS.len()].stroke_width(2);
        chart.draw_series(LineSeries::new(points, style)).map_err(|error| error.to_string())?;
    }
    area.present().map_err(|error| error.to_string())?;
    drop(chart);
    drop(area);
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: Vec<(f64, f64)>) -> Line {
        Line { name: "l".into(), colour: 0, points }
    }

    #[test]
    fn a_plot_without_values_is_still_a_plot() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            for points in [Vec::new(), vec![(1.0, 0.0)], vec![(1.0, f64::NAN)]] {
                let axis = || Axis::new("x", scale);
                let svg = figure("t", &Axis::new("x", Scale::Linear), &axis(), &[line(points)]);
                assert!(svg.ends_with("</ul></figure>\n") && svg.contains("<text"), "{svg}");
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn points_stay_within_the_plot() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let points = vec![(0.0, 0.5), (1.0, 123.0), (9.0, 77.0)];
            let axes = (Axis::new("x", Scale::Linear), Axis::new("y", scale));
            let svg = figure("t", &axes.0, &axes.1, &[line(points)]);
            let drawn = svg.split("<polyline").find(|part| part.contains("#1662C4"));
            let points = drawn.and_then(|line| line.split("points=\"").nth(1)?.split('"').next());
            let points: Vec<_> = points.expect("a polyline").split_whitespace().collect();
            assert_eq!(points.len(), 3, "{svg}");
            for point in points {
                let (x, y) = point.split_once(',').expect("x,y");
                let (x, y): (u32, u32) = (x.parse().expect("x"), y.parse().expect("y"));
                assert!(
                    (LEFT..=SIZE.0).contains(&x) && (0..=SIZE.1 - BOTTOM).contains(&y),
                    "{point}"
                );
            }
        }
    }
}
