//! Writes the resource definitions into a folder, or checks that the folder holds them: `crdgen [--check] FOLDER`.

use aivonx_crds::generate;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = arguments.iter().position(|argument| argument == "--check");
    if let Some(at) = check {
        arguments.remove(at);
    }
    let [folder] = arguments.as_slice() else {
        return failed("usage: crdgen [--check] FOLDER");
    };
    let done = if check.is_some() { verify(Path::new(folder)) } else { write(Path::new(folder)) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    for file in generate::files()? {
        let path = folder.join(&file.name);
        std::fs::write(&path, file.text)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn verify(folder: &Path) -> Result<(), Box<dyn Error>> {
    for file in generate::files()? {
        let path = folder.join(&file.name);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(file.text.as_str()) {
            return Err(format!("{} is stale: run make gen", path.display()).into());
        }
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a command tells its user on stderr what went wrong")]
fn failed(sentence: &str) -> ExitCode {
    eprintln!("crdgen: {sentence}");
    ExitCode::FAILURE
}
