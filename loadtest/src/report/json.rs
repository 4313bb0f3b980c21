//! Reports as files, for other programs and for `loadtest compare`.

use super::Report;
use crate::failure::{Context, Result};
use std::path::Path;

pub(crate) fn write(report: &Report, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report).while_doing(|| "cannot make JSON".into())?;
    std::fs::write(path, text + "\n").while_doing(|| format!("cannot write {}", path.display()))
}

pub(crate) fn read(path: &Path) -> Result<Report> {
    let text =
        std::fs::read_to_string(path).while_doing(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .while_doing(|| format!("{} is no report of loadtest --json", path.display()))
}
