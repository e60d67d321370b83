//! What a person reads, and the file that is kept.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::session::Session;
use crate::stats::median;
use crate::work::{Measured, Work};

/// Says on standard error what is being done, on a line of its own that the next one replaces.
pub fn progress(what: &str) {
    let _ = write!(io::stderr(), "\r\x1b[K{what} ");
}

/// Writes the session to a file named by its time, and gives the name.
pub fn keep(session: &Session, faults: &[String]) -> Result<PathBuf> {
    #[derive(Serialize)]
    struct Kept<'a> {
        valid: bool,
        faults: &'a [String],
        #[serde(flatten)]
        session: &'a Session,
    }
    let folder = &session.settings.results;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{}.json", session.at.strftime("%Y-%m-%dT%H-%M-%SZ")));
    let kept = Kept { valid: faults.is_empty(), faults, session };
    fs::write(&file, serde_json::to_string_pretty(&kept)?).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// The session as a table.
pub fn table(session: &Session, faults: &[String]) -> Result<String> {
    let Session { settings, machine, .. } = session;
    let mut text = String::new();
    let out = &mut text;
    writeln!(
        out,
        "{} and {}, one core each in turn; kernel {}",
        machine.nginx, machine.dataplane, machine.kernel
    )?;
    writeln!(
        out,
        "{} rounds of {} ms; median [95 % interval] (least to greatest)\n",
        settings.rounds, settings.window
    )?;
    writeln!(
        out,
        "{:28}{:>9}{:>9}   {:42}nginx/nginx",
        "CPU time of the proxy", "nginx", "aivonx", "aivonx/nginx"
    )?;
    row(out, "per request, µs", &session.request)?;
    row(out, "per streamed line, µs", &session.line)?;
    let [nginx, again, aivonx] = session.added_latency_us;
    writeln!(out, "\n{:28}{:>9}{:>9}{:>15}", "added latency, one client", "nginx", "aivonx", "nginx again")?;
    writeln!(out, "{:28}{:>9.0}{:>9.0}{:>15.0}", "p50, µs", nginx.p50, aivonx.p50, again.p50)?;
    writeln!(out, "{:28}{:>9.0}{:>9.0}{:>15.0}", "p99, µs", nginx.p99, aivonx.p99, again.p99)?;
    writeln!(out)?;
    for work in [&session.request, &session.line] {
        let percent = |value: fn(&Measured) -> f64| 100.0 * median(&work.all(value));
        writeln!(
            out,
            "{}s: {} clients; {:.0}/s through nginx, {:.0}/s through aivonx; cores busy: {:.0} % that of the proxies \
             ({:.0} % by others), {:.0} % that of node and load",
            work.unit,
            work.clients,
            median(&work.nginx(|slice| slice.rate)),
            median(&work.aivonx(|slice| slice.rate)),
            percent(|slice| slice.slice.proxy_core),
            percent(|slice| slice.strangers),
            percent(|slice| slice.slice.load_core),
        )?;
    }
    let pressure =
        |pressure: Option<f64>| pressure.map_or("unknown".to_owned(), |percent| format!("{percent:.0} %"));
    writeln!(
        out,
        "load average before: {}, after: {}; CPU pressure before: {}, highest: {}",
        machine.loadavg[0],
        machine.loadavg[1],
        pressure(machine.pressure_before),
        pressure(machine.pressure_highest),
    )?;
    match faults {
        [] => writeln!(out, "The session is valid.")?,
        faults => writeln!(out, "THE SESSION IS NOT VALID, run it again:\n- {}", faults.join("\n- "))?,
    }
    Ok(text)
}

fn row(out: &mut String, name: &str, work: &Work) -> Result<()> {
    let ratio = &work.ratio;
    let spread = format!(
        "{:.2} [{:.2}, {:.2}] ({:.2} to {:.2})",
        ratio.median, ratio.ci95[0], ratio.ci95[1], ratio.min, ratio.max
    );
    let (nginx, aivonx, control) = (work.nginx_us.median, work.aivonx_us.median, work.control.median);
    writeln!(out, "{name:28}{nginx:>9.2}{aivonx:>9.2}   {spread:42}{control:.3}")?;
    Ok(())
}
