//! Help, version, completions, and what a wrong command line leads to.

use crate::{aivonx, stderr, stdout};

#[test]
fn help_texts_are_as_committed() {
    let commands: [&[&str]; 8] =
        [&[], &["run"], &["check"], &["migrate"], &["db"], &["db", "reset"], &["version"], &["completions"]];
    for command in commands {
        let output = aivonx(&[command, &["--help"]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        insta::assert_snapshot!(
            format!("aivonx {}", command.join(" ")).trim().replace(' ', "_"),
            stdout(&output)
        );
    }
}

#[test]
fn the_version_is_told_to_people_and_to_programs() {
    let version = env!("CARGO_PKG_VERSION");
    for arguments in [&["version"][..], &["--version"]] {
        let output = aivonx(arguments).output().unwrap();
        assert_eq!((output.status.code(), stdout(&output)), (Some(0), format!("aivonx {version}\n")));
    }
    let output = aivonx(&["version", "--output", "json"]).output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["version"], version);
}

#[test]
fn completions_are_a_script_that_knows_the_commands() {
    for (shell, mark) in [
        ("bash", "complete -F _aivonx"),
        ("zsh", "#compdef aivonx"),
        ("fish", "complete -c aivonx"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let output = aivonx(&["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = stdout(&output);
        assert!(script.contains(mark) && script.contains("admin-listen"), "{shell}: {script}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_code_2_and_says_what_is_wrong() {
    for (arguments, expected) in [
        (&["chek"][..], "similar subcommand exists: 'check'"),
        (&["run", "--lisen", "127.0.0.1:0"], "--listen"),
        (&["run", "--listen", "everywhere"], "invalid socket address"),
        (&["check", "--only", "mysql"], "possible values: secret-key, redis, postgres, api-server, nodes"),
        (&["check", "--timeout", "0s"], "such as 5s"),
        (&["check", "--node", "ftp://gpu"], "--node ftp://gpu: url must start with http:// or https://"),
        (&["completions", "tcsh"], "possible values: bash"),
        (&["migrate"], "AIVONX_DATABASE_URL environment variable is required"),
    ] {
        let output = aivonx(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}

#[test]
fn a_variable_stands_for_the_flag_of_its_name() {
    let output = aivonx(&["version"]).env("AIVONX_OUTPUT", "json").output().unwrap();
    assert!(stdout(&output).starts_with('{'));
    let output = aivonx(&["check"]).env("AIVONX_ONLY", "mysql").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn without_arguments_the_help_is_shown() {
    let output = aivonx(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: aivonx <COMMAND>"), "{}", stderr(&output));
}
