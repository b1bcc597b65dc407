//! The picture of a run: a row for each item, a dot for each competitor at its ratio to native, on a logarithmic scale.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::items::{Item, Target};
use super::report::machine;
use super::samples::Samples;

const ROW: f64 = 17.0;
const LEFT: f64 = 190.0;
const WIDTH: f64 = 720.0;
const TOP: f64 = 64.0;
/// The scale, as powers of ten.
const LEAST: f64 = -2.0;
const MOST: f64 = 3.0;
const COLOURS: [&str; 5] = ["#0b6e4f", "#7fb800", "#c1292e", "#f18f01", "#6a4c93"];

fn x(ratio: f64) -> f64 {
    LEFT + (ratio.log10().clamp(LEAST, MOST) - LEAST) / (MOST - LEAST) * WIDTH
}

/// Draws the items that have a ratio.
pub(super) fn draw(samples: &Samples, items: &[&Item], path: &Path) -> Result<()> {
    fs::write(path, picture(samples, items, &machine())?).with_context(|| format!("write {}", path.display()))
}

fn picture(samples: &Samples, items: &[&Item], machine: &str) -> Result<String> {
    let others: Vec<&String> = samples.names.iter().filter(|who| *who != "native").collect();
    let rows: Vec<&&Item> =
        items.iter().filter(|i| others.iter().any(|who| samples.ratios(i.name, who).is_some())).collect();
    let others: Vec<&&String> =
        others.iter().filter(|who| rows.iter().any(|i| samples.ratios(i.name, who).is_some())).collect();
    let bottom = TOP + ROW * rows.len() as f64;
    let (width, height) = (LEFT + WIDTH + 20.0, bottom + 30.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"18\" font-size=\"14\">Time as a ratio to native (left of 1 is faster)</text>\n\
         <text x=\"10\" y=\"34\" fill=\"#555\">{}; medians; tick: target</text>\n",
        escape(machine)
    );
    for (number, who) in others.iter().enumerate() {
        let at = LEFT + 130.0 * number as f64;
        let colour = COLOURS[number % COLOURS.len()];
        writeln!(
            svg,
            "<circle cx=\"{at}\" cy=\"48\" r=\"4.5\" fill=\"{colour}\"/><text x=\"{}\" y=\"52\">{}</text>",
            at + 8.0,
            escape(who)
        )?;
    }
    let mut power = LEAST;
    while power <= MOST {
        let (at, ratio) = (x(10f64.powf(power)), 10f64.powf(power));
        let colour = if power == 0.0 { "#000" } else { "#ccc" };
        writeln!(svg, "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"{colour}\"/>")?;
        writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{ratio}</text>", bottom + 16.0)?;
        power += 1.0;
    }
    for (number, item) in rows.iter().enumerate() {
        let y = TOP + ROW * (number as f64 + 0.5);
        writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, y + 4.0, escape(item.name))?;
        writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#eee\"/>", LEFT + WIDTH)?;
        if let Some(Target::Ratio(most)) = item.target {
            let at = x(most);
            writeln!(
                svg,
                "<line x1=\"{at:.1}\" y1=\"{}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#06c\" stroke-width=\"2\"/>",
                y - 6.0,
                y + 6.0
            )?;
        }
        for (number, who) in others.iter().enumerate() {
            let Some((ratio, _)) = samples.ratios(item.name, who) else { continue };
            let colour = COLOURS[number % COLOURS.len()];
            writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{y}\" r=\"4.5\" fill=\"{colour}\" fill-opacity=\"0.85\"><title>{} {ratio:.2}</title></circle>",
                x(ratio),
                escape(who)
            )?;
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_logarithmic_and_bounded() {
        assert!((x(10.0) - x(1.0) - (x(1.0) - x(0.1))).abs() < 1e-6);
        assert!((x(1e9) - (LEFT + WIDTH)).abs() < 1e-6);
    }
}
