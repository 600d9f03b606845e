//! Keys that are in no file, against a real ssh server that checks what they sign: in a token of PKCS#11, in a security key
//! that has to be touched, and a ticket of Kerberos. The token and the security key are made of software; the rest is as
//! everybody has it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{
    Agent, Kerberos, Native, Ran, Running, SshdSetup, executable, keygen, line_of, public, skip, words,
};

/// Where Debian has the token.
const TOKEN: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The right PIN of both.
const PIN: &str = "1234";

/// A daemon behind an ssh server, and what a person's programs find in their environment.
struct Story {
    native: Native,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Story {
    fn start(setup: SshdSetup) -> Self {
        let native = Native::start(setup);
        native.settings("IdentityFile /nonexistent/key\n");
        Self { native, variables: Vec::new() }
    }

    fn uri(&self, more: &str) -> String {
        self.native.sshd.uri(&self.native.daemon.socket(), more)
    }

    /// Who is let in.
    fn lets_in(&self, public: &str) {
        self.native.sshd.place().write("authorized_keys", format!("{public}\n"));
    }

    /// Lists without a terminal, with these variables more.
    fn alone(&self, arguments: &[&str], more: &[(&str, &Path)]) -> Ran {
        let mut command = self.native.alone(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).envs(more.iter().copied());
        Running::start(command).end()
    }

    /// It has to work, by the program and for this reason.
    #[track_caller]
    fn lists(&self, reason: &str, more: &[(&str, &Path)]) {
        let debug = [more, &[("VMWIRE_LOG", Path::new("debug"))]].concat();
        let listed = self.alone(&["-c", &self.uri(""), "vm", "list"], &debug);
        assert!(listed.code == 0 && listed.out.contains("web"), "{listed:?}");
        assert!(listed.err.contains(&format!("vm1: by the ssh program, because {reason}\n")), "{listed:?}");
    }

    /// The same by ssh2, with what the agent has.
    #[track_caller]
    fn lists_by_ssh2(&self, agent: &Agent) {
        let variables = [("VMWIRE_LOG", Path::new("debug")), ("SSH_AUTH_SOCK", agent.socket.as_ref())];
        let listed = self.alone(&["-c", &self.uri(""), "vm", "list"], &variables);
        assert!(listed.code == 0 && listed.out.contains("web"), "{listed:?}");
        assert!(!listed.err.contains("by the ssh program"), "{listed:?}");
    }

    /// It has to fail; answers the error.
    #[track_caller]
    fn error(&self, more: &str, variables: &[(&str, &Path)]) -> Value {
        self.alone(&["-c", &self.uri(more), "-o", "json", "vm", "list"], variables).error(4)
    }

    /// Lists at a terminal.
    fn at_terminal(&self, more: &str) -> Running {
        self.at_terminal_with(more, "-c")
    }

    /// The same, by another option that names the daemon.
    fn at_terminal_with(&self, more: &str, option: &str) -> Running {
        let arguments = [option, &self.uri(""), "vm", "list"];
        let line = words(&self.native.sshd.command(&arguments));
        let variables = self.variables.iter().map(|(name, value)| format!("{name}='{}' ", value.display()));
        self.native.shell_at_terminal(&format!("{}{more} {line}", variables.collect::<String>()), &arguments)
    }
}

#[track_caller]
fn is_told(error: &Value, message: &str, cause: &str, hint: &str) {
    assert_eq!(error["message"], message, "{error}");
    let causes: Vec<&str> = error["causes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(causes.iter().any(|line| line.contains(cause)), "{error}");
    assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
}

/// A token with a key in it; answers what the library finds it by, and the public key.
fn token(dir: &Path) -> (PathBuf, String) {
    let tokens = dir.join("tokens");
    std::fs::create_dir_all(&tokens).unwrap();
    let config = dir.join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
    std::fs::write(&config, text).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).env("SOFTHSM2_CONF", &config).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let key = dir.join("key.pem");
    let key = key.to_str().unwrap();
    run("softhsm2-util", &["--init-token", "--free", "--label", "story", "--pin", PIN, "--so-pin", "56789"]);
    run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]);
    run("softhsm2-util", &["--import", key, "--token", "story", "--label", "me", "--id", "01", "--pin", PIN]);
    let public = run("ssh-keygen", &["-D", TOKEN]);
    (config, public)
}

/// A story with a token; says that it is skipped where there is none.
fn with_token(test: &str) -> Option<(Story, String)> {
    if !Path::new(TOKEN).exists() {
        skip(test, "there is no softhsm2");
        return None;
    }
    let mut story = Story::start(SshdSetup::default());
    let dir = story.native.path("hsm");
    std::fs::create_dir(&dir).unwrap();
    let (config, public) = token(&dir);
    story.variables.push(("SOFTHSM2_CONF", config));
    story.native.settings(&format!("PKCS11Provider {TOKEN}\n"));
    story.lets_in(&public);
    Some((story, public))
}

/// What types the PIN where ssh asks with a program.
fn askpass(story: &Story) -> String {
    let path = story.native.path("askpass");
    let asked = story.native.path("asked");
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{}'\necho {PIN}\n", asked.display());
    executable(&path, script);
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_key_in_a_token_lets_in_with_its_pin_and_by_an_agent_that_has_it() {
    let Some((story, _)) = with_token("a_key_in_a_token_lets_in_with_its_pin_and_by_an_agent_that_has_it") else {
        return;
    };
    let mut asked = story.at_terminal("VMWIRE_LOG=debug");
    asked.expect(&format!("vm1: by the ssh program, because its settings have PKCS11Provider {TOKEN}"));
    asked.expect("Enter PIN for 'story': ");
    asked.write(&format!("{PIN}\r"));
    let shown = asked.expect("web");
    assert!(!shown.contains(PIN) && asked.wait().code == 0, "{shown}");

    let window = askpass(&story);
    let listed = story.at_terminal(&format!("SSH_ASKPASS={window} SSH_ASKPASS_REQUIRE=force")).wait();
    assert!(listed.code == 0 && listed.out.contains("web"), "{listed:?}");
    assert!(line_of(&story.native.path("asked")).contains("Enter PIN for 'story'"));

    let variables = [("SOFTHSM2_CONF", story.variables[0].1.as_path())];
    let agent = Agent::start(&story.native.path("agent"), &variables);
    let mut add = agent.ssh_add(&[Path::new("-s"), Path::new(TOKEN)]);
    let added = add.env("SSH_ASKPASS", &window).env("SSH_ASKPASS_REQUIRE", "force").output().unwrap();
    assert!(added.status.success(), "{added:?}");
    let socket = [("SSH_AUTH_SOCK", Path::new(&agent.socket))];
    story.lists(&format!("its settings have PKCS11Provider {TOKEN}"), &socket);
    // The agent's key is one like any other: there ssh2 will do.
    story.native.settings("");
    story.lists_by_ssh2(&agent);
}

#[test]
fn a_token_that_is_of_no_use_is_told_with_what_leads_on() {
    let Some((mut story, public)) = with_token("a_token_that_is_of_no_use_is_told_with_what_leads_on") else { return };
    let denied = "vm1 does not let this user in";
    let error = story.error("", &[]);
    is_told(&error, denied, "pin required", &format!("an agent that has it needs none: ssh-add -s {TOKEN}; or let"));
    let mut asked = story.at_terminal("");
    asked.expect("Enter PIN for 'story': ");
    asked.write("4321\r");
    let told = asked.wait();
    assert!(told.code == 4 && told.out.contains("cause: PKCS#11 login failed: PIN incorrect"), "{told:?}");
    assert!(told.out.contains("hint: try again at a terminal with the right PIN"), "{told:?}");

    // The host does not know it; what the hint says prints the line that it has to be told.
    story.lets_in(&line_of(&public_of_another(&story)));
    let error = story.error("", &[]);
    is_told(
        &error,
        denied,
        "by the ssh program, because its settings have PKCS11Provider",
        "let somebody who is in put",
    );
    let hint = error["hint"].as_str().unwrap();
    let command = hint.split("printed by: ").nth(1).and_then(|rest| rest.split(" (").next()).unwrap();
    let mut shell = Command::new("sh");
    let printed = shell.args(["-c", command]).env("SOFTHSM2_CONF", &story.variables[0].1).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), public, "{hint}");

    // A token without a key, and a library that is none.
    let empty = story.native.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let config = empty.join("softhsm2.conf");
    std::fs::write(&config, format!("directories.tokendir = {}\nobjectstore.backend = file\n", empty.display()))
        .unwrap();
    story.variables[0].1 = config;
    let error = story.error("", &[]);
    is_told(
        &error,
        denied,
        "Permission denied (publickey)",
        "where that prints nothing, the token is not there or has no key",
    );
    story.native.settings("PKCS11Provider /nonexistent/token.so\n");
    let error = story.error("", &[]);
    let cause = "provider /nonexistent/token.so is not a PKCS11 library";
    is_told(&error, denied, cause, "name the token's library in PKCS11Provider or SecurityKeyProvider");
}

fn public_of_another(story: &Story) -> PathBuf {
    let key = story.native.path("another");
    keygen(&key, &["-t", "ed25519"]);
    public(&key)
}

/// Builds the library that is the security key.
fn security_key(dir: &Path) -> String {
    let library = dir.join("security_key.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/security_key.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-lcrypto");
    let output = compiler.output().expect("cc: install gcc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library.to_str().unwrap().to_owned()
}

/// Makes a key in it; `verified` where its PIN is wanted whenever it signs.
fn key_in(library: &str, story: &Story, name: &str, verified: bool) -> PathBuf {
    let key = story.native.path(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-C", "story", "-t", "ed25519-sk", "-w", library, "-f"]).arg(&key);
    if verified {
        command.args(["-O", "verify-required"]);
    }
    let window = askpass(story);
    command.env("SSH_ASKPASS", window).env("SSH_ASKPASS_REQUIRE", "force").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    key
}

#[test]
fn a_security_key_lets_in_whoever_touches_it() {
    let story = Story::start(SshdSetup::default());
    let library = security_key(story.native.sshd.place().path());
    let key = key_in(&library, &story, "touched", false);
    story.lets_in(&line_of(&public(&key)));
    let provider = format!("SecurityKeyProvider {library}\n");
    let file = key.display();
    story.native.settings(&format!("{provider}IdentityFile {file}\n"));
    story.lists(&format!("{file} is a key that has to be touched"), &[]);
    // ssh itself says nothing of it, for what it says goes to no terminal.
    for option in ["-c", "-H"] {
        let touch = story.native.path(&format!("touch{option}"));
        let mut asked = story.at_terminal_with(&format!("STORY_TOUCH='{}'", touch.display()), option);
        asked.expect("vm1: touch your security key");
        std::fs::write(&touch, "").unwrap();
        asked.expect("web");
        assert_eq!(asked.wait().code, 0);
    }
    // The key of the URI is one as well.
    story.native.settings(&provider);
    let by_uri = story.alone(&["-c", &story.uri(&format!("&keyfile={file}")), "vm", "list"], &[]).ok();
    assert!(by_uri.contains("web"), "{by_uri}");

    let agent = Agent::start(&story.native.path("agent"), &[]);
    let added = agent.ssh_add(&[Path::new("-S"), library.as_ref(), &key]).output().unwrap();
    assert!(added.status.success(), "{added:?}");
    story.native.settings("");
    let socket = [("SSH_AUTH_SOCK", Path::new(&agent.socket))];
    story.lists("the agent has a key of the kind sk-ssh-ed25519@openssh.com", &socket);
    // It is named by its public half, which is all that is in a file.
    story.native.settings(&format!("IdentitiesOnly yes\nIdentityFile {file}.pub\n"));
    story.lists(&format!("{file}.pub is a key that has to be touched"), &socket);

    // ssh2 is told to stay away from it, and says so.
    story.native.settings("");
    let error = story.error("&transport=ssh2", &socket);
    let message = "vm1 does not let root in: nothing could be tried; the server takes publickey";
    is_told(&error, message, "is kept in a token, which only the ssh program can use", "leave transport=ssh2 out");
    story.native.settings(&format!("{provider}IdentityFile {file}\n"));
    let error = story.error("&transport=ssh2", &[]);
    is_told(&error, message, &format!("{file} is kept in a token"), "leave transport=ssh2 out of the URI");
}

#[test]
fn a_security_key_that_is_of_no_use_is_told_with_what_leads_on() {
    let story = Story::start(SshdSetup::default());
    let library = security_key(story.native.sshd.place().path());
    let key = key_in(&library, &story, "verified", true);
    let file = key.display();
    story.native.settings(&format!("SecurityKeyProvider {library}\nIdentityFile {file}\n"));
    let denied = "vm1 does not let this user in";
    let error = story.error("", &[]);
    is_told(
        &error,
        denied,
        "Permission denied",
        &format!("let somebody who is in put your public key ({file}.pub) into"),
    );
    story.lets_in(&line_of(&public(&key)));
    let prompt = format!("Enter PIN for ED25519-SK key {file}: ");
    let touch = story.native.path("touch");
    let mut asked = story.at_terminal(&format!("STORY_TOUCH='{}'", touch.display()));
    asked.expect(&prompt);
    asked.write(&format!("{PIN}\r"));
    asked.expect("vm1: touch your security key");
    std::fs::write(&touch, "").unwrap();
    let shown = asked.expect("web");
    assert!(!shown.contains(PIN) && asked.wait().code == 0, "{shown}");
    let mut asked = story.at_terminal("");
    asked.expect(&prompt);
    asked.write("4321\r");
    let told = asked.wait();
    assert!(told.code == 4 && told.out.contains("hint: try again at a terminal with the right PIN"), "{told:?}");
    let error = story.error("", &[]);
    is_told(&error, denied, "signing failed for ED25519-SK", "try again at a terminal with the right PIN");

    // None is plugged in.
    let key = key_in(&library, &story, "absent", false);
    story.lets_in(&line_of(&public(&key)));
    story.native.settings(&format!("SecurityKeyProvider internal\nIdentityFile {}\n", key.display()));
    let error = story.error("", &[]);
    is_told(&error, denied, "device not found", "plug the security key in, and try again");
    story.native.settings(&format!("SecurityKeyProvider /nonexistent/key.so\nIdentityFile {}\n", key.display()));
    let error = story.error("", &[]);
    is_told(&error, denied, "is not an OpenSSH FIDO library", "what is set: ssh -G vm1");
}

#[test]
fn a_ticket_of_kerberos_lets_in_and_without_one_the_settings_alone_change_nothing() {
    let name = "a_ticket_of_kerberos_lets_in_and_without_one_the_settings_alone_change_nothing";
    let Some(kerberos) = Kerberos::start(name) else { return };
    let setup = SshdSetup::default().line("GSSAPIAuthentication yes").line("GSSAPIStrictAcceptorCheck no");
    let setup = setup.variable("KRB5_CONFIG", kerberos.config()).variable("KRB5_KTNAME", kerberos.host_key());
    let mut story = Story::start(setup);
    // As Debian sets it for everybody.
    story.native.settings("IdentityFile /nonexistent/key\nGSSAPIAuthentication yes\n");
    story.variables.push(("KRB5_CONFIG", kerberos.config()));
    story.variables.push(("KRB5CCNAME", kerberos.tickets()));

    let by_ssh2 = "vm1 does not let root in: nothing could be tried; the server takes publickey, gssapi-keyex, \
                   gssapi-with-mic";
    let error = story.error("", &[]);
    assert_eq!(error["message"], by_ssh2, "by ssh2, and no password is taken: {error}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("; or get a ticket with kinit, and have GSSAPIAuthentication yes; for"), "{hint}");
    let error = story.error("&transport=ssh", &[]);
    is_told(&error, "vm1 does not let this user in", "gssapi-with-mic", "; or get a ticket with kinit, and have");

    // What the hint says leads on.
    kerberos.kinit();
    story.lists("its settings have GSSAPIAuthentication, and there is a ticket", &[]);
    let log = story.native.sshd.log();
    assert!(log.contains("Authorized to root, krb5 principal me@STORY"), "{log}");
    let error = story.error("&transport=ssh2", &[]);
    assert!(error["hint"].as_str().unwrap().contains("kinit, and leave transport=ssh2 out"), "{error}");
    // A key is taken as well where both are there, and a ticket is none where the settings do not want it shown.
    story.native.settings("IdentityFile /nonexistent/key\nGSSAPIAuthentication no\n");
    assert_eq!(story.error("", &[])["message"], by_ssh2);

    // One that its host does not take: of this centre, but for nobody who is root there.
    story.native.settings("IdentityFile /nonexistent/key\nGSSAPIAuthentication yes\n");
    kerberos.forbid();
    let error = story.error("", &[]);
    is_told(
        &error,
        "vm1 does not let this user in",
        "gssapi-with-mic",
        "is the ticket still good (klist, kinit), and may",
    );
}
