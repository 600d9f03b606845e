//! Contexts as a person has them: read, edited, kept, and made into what is connected to.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use proptest::prelude::*;

use super::text::{Book, read};
use super::*;
use crate::transport::Environment;

const TEXT: &str = "# my hosts\ncurrent = \"vm1\" # the big one\n\n[[context]]\nname = \"vm1\"\n\
                    uri = \"qemu+tls://vm1.example.org/system\"\ngroups = [\n  \"prod\", # paid for\n  \"web\",\n]\n\n\
                    # at home\n[[context]]\nname = \"home.1\"\nuri = 'test:///default'\n";

fn context(name: &str, uri: &str, groups: &[&str]) -> Context {
    let groups = groups.iter().map(|&group| group.to_owned()).collect();
    Context { name: name.to_owned(), uri: uri.parse().unwrap(), groups }
}

fn contexts() -> Contexts {
    read(TEXT).unwrap()
}

/// A file in a fresh home.
fn kept() -> (tempfile::TempDir, ContextsFile) {
    let home = tempfile::tempdir().unwrap();
    let environment = Environment { home: Some(home.path().to_owned()), ..Environment::default() };
    (home, ContextsFile::of(&environment).unwrap())
}

fn names(contexts: &Contexts) -> Vec<&str> {
    contexts.iter().map(|context| context.name.as_str()).collect()
}

#[test]
fn a_text_that_a_person_wrote_is_understood() {
    let contexts = contexts();
    assert_eq!(names(&contexts), ["vm1", "home.1"]);
    assert_eq!(contexts.current(), Some(&context("vm1", "qemu+tls://vm1.example.org/system", &["prod", "web"])));
    assert_eq!(contexts.groups().into_iter().collect::<Vec<_>>(), ["prod", "web"]);
    assert_eq!(read("").unwrap(), Contexts::default());
    let all = [("vm2", Some("vm1")), ("Home1", Some("home.1")), ("pord", None), ("elsewhere", None), ("", None)];
    for (name, nearest) in all {
        assert_eq!(contexts.nearest(name, false), nearest, "{name}");
    }
    assert_eq!(contexts.nearest("prods", true), Some("prod"));
}

#[test]
fn what_is_wrong_with_a_text_is_told_with_its_line_and_column() {
    let one = |lines: &str| format!("[[context]]\n{lines}\n");
    let named = |name: &str| one(&format!("name = \"{name}\"\nuri = \"qemu:///system\""));
    let table = [
        ("current = ".to_owned(), "1:11 string values must be quoted, expected literal string"),
        ("x = 1".to_owned(), "1:1 there is no key \"x\""),
        ("context = 1".to_owned(), "1:11 context is to be a list of tables, each behind [[context]]"),
        ("context = [1]".to_owned(), "1:12 context is to be a list of tables, each behind [[context]]"),
        (one("nam = \"a\""), "2:1 there is no key \"context.nam\""),
        (one("name = \"a\""), "1:1 the context has no uri"),
        (one("uri = \"qemu:///system\""), "1:1 the context has no name"),
        (one("name = 1\nuri = \"qemu:///system\""), "2:8 name is to be a string"),
        (one("name = \"a\"\nuri = 7"), "3:7 uri is to be a string"),
        (one("name = \"ä\"\nuri = \"foo:///system\""), "3:7 there is no driver \"foo\""),
        (named("a b"), "2:8 \"a b\" cannot be a name"),
        (named("ä"), "2:8 \"ä\" cannot be a name"),
        (named("a\\u001b"), "2:8 \"a\\u{1b}\" cannot be a name"),
        (named(&"a".repeat(65)), &format!("2:8 {:?} cannot be a name", "a".repeat(65))),
        (named("a") + "groups = \"b\"", "4:10 groups is to be a list of strings"),
        (named("a") + "groups = [\"b\", 2]", "4:16 groups is to be a string"),
        (named("a") + "groups = [\"a\"]", "2:8 \"a\" is a context and a group"),
        (named("a") + &named("b") + &named("a"), "8:8 two contexts are called \"a\""),
        (named("a") + "name = \"b\"", "4:1 duplicate key"),
        ("current = \"a\"".to_owned(), "1:11 the current context \"a\" is not there"),
        ("current = 1\n".to_owned() + &named("a"), "1:11 current is to be a string"),
    ];
    for (text, expected) in table {
        let fault = read(&text).unwrap_err();
        let told = format!("{}:{} {}", fault.position.line, fault.position.column, fault.why);
        assert_eq!(told, expected, "{text}");
    }
    let many = "[[context]]\n".repeat(CONTEXTS_MAX + 1);
    assert!(read(&many).unwrap_err().why.ends_with("has 4097 entries, and may have 4096"));
    assert!(read(&"[".repeat(100_000)).is_err(), "however deep");
}

#[test]
fn what_a_person_wrote_beside_it_stays() {
    let book = || Book::read(TEXT.to_owned()).unwrap();
    let mut added = book();
    added.add(context("new", "qemu:///session", &["x", "b"]));
    let block = "\n[[context]]\nname = \"new\"\nuri = \"qemu:///session\"\ngroups = [\"b\", \"x\"]\n";
    assert_eq!(added.text(), format!("{TEXT}{block}"));

    let mut used = book();
    used.set_current(Some("home.1"));
    let expected = TEXT.replace("current = \"vm1\" # the big one\n\n", "");
    assert_eq!(used.text(), format!("current = \"home.1\"\n\n{expected}"));
    used.set_current(None);
    assert_eq!(used.text(), expected);

    let mut removed = book();
    removed.remove("vm1");
    assert_eq!(removed.text(), "# my hosts\n# at home\n[[context]]\nname = \"home.1\"\nuri = 'test:///default'\n");
    assert_eq!(removed.contexts().current(), None);
    removed.remove("home.1");
    assert_eq!(removed.text(), "# my hosts\n# at home\n");

    let mut replaced = book();
    replaced.replace(context("vm1", "qemu:///system", &[]));
    let (before, behind) = (TEXT.find("[[context]]").unwrap(), TEXT.find("# at home").unwrap());
    let block = "[[context]]\nname = \"vm1\"\nuri = \"qemu:///system\"\n\n";
    assert_eq!(replaced.text(), format!("{}{block}{}", &TEXT[..before], &TEXT[behind..]));
}

#[test]
fn a_text_that_cannot_be_edited_is_written_anew() {
    let odd = "context = [{name = \"a\", uri = \"qemu:///system\"}, {name = \"b\", uri = \"qemu:///session\"}]\n";
    let mut book = Book::read(odd.to_owned()).unwrap();
    book.remove("a");
    assert_eq!(book.text(), "[[context]]\nname = \"b\"\nuri = \"qemu:///session\"\n");
    let mut book = Book::read(odd.to_owned()).unwrap();
    book.add(context("c", "test:///default", &["g"]));
    assert_eq!(read(book.text()).unwrap(), *book.contexts());
}

#[derive(Debug, Clone)]
enum Edit {
    Add(usize, bool),
    Remove(usize),
    Use(Option<usize>),
}

proptest! {
    #[test]
    fn after_any_edits_the_text_says_what_it_is_to_say(
        edits in prop::collection::vec(
            prop_oneof![
                (0_usize..5, any::<bool>()).prop_map(|(name, grouped)| Edit::Add(name, grouped)),
                (0_usize..5).prop_map(Edit::Remove),
                prop::option::of(0_usize..5).prop_map(Edit::Use),
            ],
            0..20,
        ),
        blank in any::<bool>(),
    ) {
        let name = |number: usize| ["vm1", "home.1", "a", "b-", "0"][number];
        let text = if blank { String::new() } else { TEXT.to_owned() };
        let mut book = Book::read(text).unwrap();
        for edit in edits {
            match edit {
                Edit::Add(number, grouped) => {
                    let groups: &[&str] = if grouped { &["prod", "y"] } else { &[] };
                    let uris = ["qemu+unix:///system?socket=/a%20b", "qemu+ssh://DOMAIN%5Cuser%40x@h:7/system"];
                    let new = context(name(number), uris[number % 2], groups);
                    match book.contexts().get(name(number)) {
                        Some(_) => book.replace(new),
                        None => book.add(new),
                    }
                }
                Edit::Remove(number) => book.remove(name(number)),
                Edit::Use(number) => {
                    let name = number.map(name).filter(|name| book.contexts().get(name).is_some());
                    book.set_current(name);
                }
            }
            prop_assert_eq!(&read(book.text()).unwrap(), book.contexts());
            let comments = blank || book.text().starts_with("# my hosts") || book.text().contains("\n# my hosts");
            prop_assert!(comments, "{}", book.text());
        }
    }

    #[test]
    fn no_text_makes_it_fail(text in "[\\[\\]a-c=\"'#\n {},.\u{e4}]{0,60}") {
        let _ = read(&text);
    }
}

#[test]
fn contexts_are_kept_for_their_owner_alone_and_survive() {
    let (home, file) = kept();
    assert_eq!(file.path(), home.path().join(".config/vmwire/contexts.toml"));
    assert_eq!(file.read().unwrap(), Contexts::default());
    file.add(context("a", "qemu:///system", &[]), false).unwrap();
    file.add(context("b", "qemu:///session", &["g"]), false).unwrap();
    file.set_current(Some("b")).unwrap();
    assert_eq!(file.read().unwrap().current().unwrap().name, "b");
    assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(!file.remove(&["a".to_owned()]).unwrap());
    assert!(file.remove(&["b".to_owned()]).unwrap(), "it was the current one");
    assert_eq!(file.read().unwrap(), Contexts::default());
    let names: Vec<_> = std::fs::read_dir(file.path().parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "no draft stays");
    let other = Environment { config_home: Some("/c".into()), home: Some("/h".into()), ..Environment::default() };
    assert_eq!(ContextsFile::of(&other).unwrap().path(), std::path::Path::new("/c/vmwire/contexts.toml"));
}

#[test]
fn what_cannot_be_kept_is_refused_in_words_and_changes_nothing() {
    let (_home, file) = kept();
    let said = |result: Result<(), ContextsError>| {
        let error = result.unwrap_err();
        (error.to_string(), error.hint())
    };
    let name = "a name has 1 to 64 letters, digits and . _ -, and begins with a letter or digit";
    let none = "there are no contexts yet; make one: vmwire context add NAME qemu+ssh://USER@HOST/system";
    let expect = |found: (String, String), message: &str, hint: &str| {
        assert_eq!((found.0.as_str(), found.1.as_str()), (message, hint));
    };
    expect(said(file.set_current(Some("web"))), "there is no context \"web\"", none);
    expect(said(file.add(context("-a", "qemu:///system", &[]), false)), "\"-a\" cannot be a name", name);
    expect(said(file.add(context("a", "qemu:///system", &["b/c"]), false)), "\"b/c\" cannot be a name", name);
    let both = "-H takes both, so that it would not be clear who is meant: another name";
    let clash = "\"a\" would be a context and a group";
    expect(said(file.add(context("a", "qemu:///system", &["a"]), false)), clash, both);
    file.add(context("web", "qemu:///system", &["g"]), false).unwrap();
    expect(said(file.add(context("g", "qemu:///session", &[]), false)), "\"g\" would be a context and a group", both);
    expect(
        said(file.add(context("x", "qemu:///session", &["web"]), false)),
        "\"web\" would be a context and a group",
        both,
    );
    expect(
        said(file.add(context("web", "qemu:///session", &[]), false)),
        "there is a context \"web\" already, for qemu:///system",
        "another name, or --replace to put the new one in its place; vmwire context use web uses it",
    );
    let group = "-H g asks all who are in it";
    expect(said(file.set_current(Some("g"))), "there is no context \"g\", but a group", group);
    let by_ssh = "for a host, by ssh: qemu+ssh://root@web/system";
    expect(said(file.set_current(Some("root@web"))), "there is no context \"root@web\"", by_ssh);
    let nearest = "did you mean web? All there are: vmwire context list";
    expect(said(file.set_current(Some("wbe"))), "there is no context \"wbe\"", nearest);
    let names = ["web".to_owned(), "other".to_owned()];
    expect(said(file.remove(&names).map(drop)), "there is no context \"other\"", "all there are: vmwire context list");
    assert_eq!(file.read().unwrap().iter().count(), 1, "one that is not there keeps the others");
    file.add(context("web", "qemu:///session", &[]), true).unwrap();
    assert_eq!(file.read().unwrap().get("web").unwrap().uri.to_string(), "qemu:///session");
}

#[test]
fn anything_may_stand_where_the_file_is_to_be() {
    let (_home, file) = kept();
    let path = file.path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let said = || {
        let error = file.read().unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}").replace(&path.display().to_string(), "FILE")
    };
    let clear = || drop(std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path)));
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    assert_eq!(said(), "cannot read FILE: not a regular file");
    clear();
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    assert_eq!(said(), "cannot read FILE: not a regular file");
    clear();
    std::fs::create_dir(path).unwrap();
    assert_eq!(said(), "cannot read FILE: not a regular file");
    clear();
    std::fs::write(path, b"a\xff").unwrap();
    assert_eq!(said(), "cannot read FILE: it is no text: byte 1 is not UTF-8");
    std::fs::File::create(path).unwrap().set_len(5 << 20).unwrap();
    assert_eq!(said(), "cannot read FILE: it has more than 4 MiB");
    std::fs::write(path, "\n x = 1").unwrap();
    assert_eq!(
        file.read().unwrap_err().to_string(),
        format!("{}, line 2, column 2: there is no key \"x\"", path.display())
    );
    assert!(file.add(context("a", "qemu:///system", &[]), false).is_err());
    assert_eq!(std::fs::read(path).unwrap(), b"\n x = 1", "what is not understood is not written over");
}

#[test]
fn a_link_to_the_file_stays_one() {
    let (home, file) = kept();
    std::fs::create_dir_all(file.path().parent().unwrap()).unwrap();
    let elsewhere = home.path().join("dotfiles.toml");
    std::fs::write(&elsewhere, "# kept with care\n").unwrap();
    std::os::unix::fs::symlink(&elsewhere, file.path()).unwrap();
    file.add(context("a", "qemu:///system", &[]), false).unwrap();
    assert!(file.path().is_symlink());
    assert!(std::fs::read_to_string(&elsewhere).unwrap().starts_with("# kept with care\n\n[[context]]\n"));
}

#[test]
fn a_link_to_where_no_file_is_yet_stays_one_and_leads_to_it_then() {
    let (home, file) = kept();
    let directory = file.path().parent().unwrap();
    std::fs::create_dir_all(directory).unwrap();
    let dotfiles = home.path().join("dotfiles");
    // By another link, and by ways from where each of them lies.
    std::os::unix::fs::symlink("between", file.path()).unwrap();
    std::os::unix::fs::symlink(dotfiles.join("contexts.toml"), directory.join("between")).unwrap();
    assert_eq!(file.read().unwrap().iter().count(), 0);
    let error = file.add(context("a", "qemu:///system", &[]), false).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", file.path().display()));
    std::fs::create_dir(&dotfiles).unwrap();
    file.add(context("a", "qemu:///system", &[]), false).unwrap();
    assert!(file.path().is_symlink() && directory.join("between").is_symlink());
    assert!(std::fs::read_to_string(dotfiles.join("contexts.toml")).unwrap().contains("[[context]]\nname = \"a\""));
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 2, "nothing is left beside them");

    // One that leads in a circle is none.
    std::fs::remove_file(directory.join("between")).unwrap();
    std::os::unix::fs::symlink("contexts.toml", directory.join("between")).unwrap();
    let error = file.add(context("b", "qemu:///system", &[]), false).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}", file.path().display()));
    assert!(file.path().is_symlink());
}

#[test]
fn whoever_add_at_once_are_all_kept() {
    let (_home, file) = kept();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let file = &file;
            scope.spawn(move || file.add(context(&format!("c{number}"), "qemu:///system", &[]), false).unwrap());
        }
    });
    assert_eq!(file.read().unwrap().iter().count(), 8);
}

/// The daemon that is meant, in short.
fn meant(option: Option<&str>, variable: Option<&str>, all: &Contexts) -> String {
    let usual = || Uri::default_for(0);
    match daemon(option, variable, || Ok(all.clone()), usual) {
        Ok(Target { uri, context, origin }) => {
            format!("{uri} {} {origin:?}", context.map_or("-".to_owned(), |context| context.name))
        }
        Err((origin, error)) => format!("{origin:?}: {error}"),
    }
}

#[test]
fn the_option_stands_above_the_variable_and_that_above_the_current_context() {
    let all = contexts();
    let vm1 = "qemu+tls://vm1.example.org/system";
    let table = [
        (Some("home.1"), Some("vm1"), "test:///default home.1 Option".to_owned()),
        (Some("qemu:///session"), Some("vm1"), "qemu:///session - Option".to_owned()),
        (None, Some("home.1"), "test:///default home.1 Variable".to_owned()),
        (None, Some("qemu:///session"), "qemu:///session - Variable".to_owned()),
        (None, None, format!("{vm1} vm1 Current")),
        (Some("vm2"), None, "Option: there is no context \"vm2\"".to_owned()),
        (None, Some("vm2"), "Variable: there is no context \"vm2\"".to_owned()),
        (Some("qemu:system"), None, "Option: the connection URI has no // behind its scheme".to_owned()),
        (Some(""), None, "Option: the connection URI is empty".to_owned()),
    ];
    for (option, variable, expected) in table {
        assert_eq!(meant(option, variable, &all), expected);
    }
    assert_eq!(meant(None, None, &Contexts::default()), "qemu:///system - Default");
}

#[test]
fn a_broken_file_is_in_nobodys_way_who_names_a_daemon() {
    let broken = || Err(ContextsError::NoHome);
    let usual = || Uri::default_for(0);
    assert!(daemon(Some("qemu:///system"), None, broken, usual).is_ok());
    assert!(daemon(None, Some("qemu:///system"), broken, usual).is_ok());
    assert!(matches!(daemon(None, None, broken, usual), Err((Origin::Current, ContextsError::NoHome))));
    assert!(hosts(&["qemu:///system".to_owned()], broken).is_ok());
    assert!(hosts(&["a".to_owned()], broken).is_err());
}

/// The hosts that are meant, in short, or why not, and what to do.
fn asked(lists: &[&str], all: &str) -> Result<Vec<String>, (String, String)> {
    let lists: Vec<String> = lists.iter().map(|&list| list.to_owned()).collect();
    hosts(&lists, || Ok(read(all).unwrap()))
        .map(|hosts| hosts.into_iter().map(|host| host.name).collect())
        .map_err(|error| (error.to_string(), error.hint()))
}

#[test]
fn hosts_are_contexts_groups_and_uris_in_the_order_of_naming() {
    let two = format!("{TEXT}groups = [\"web\"]\n");
    assert_eq!(asked(&["home.1,vm1"], &two).unwrap(), ["home.1", "vm1"]);
    assert_eq!(asked(&["web"], &two).unwrap(), ["vm1", "home.1"]);
    assert_eq!(asked(&["prod", "qemu:///system,home.1"], &two).unwrap(), ["vm1", "qemu:///system", "home.1"]);
}

#[test]
fn hosts_that_are_not_there_or_meant_twice_are_refused_in_words() {
    let twice = "name it once; a group names all who are in it";
    let out = "leave one of the two out: what is asked for would be done there twice";
    let commas = "write contexts, groups or URIs with commas between them, as in -H web1,web2; a comma in a URI is %2C";
    let same = format!("{TEXT}groups = [\"web\"]\n[[context]]\nname = \"same\"\nuri = \"test+unix:///default\"\n");
    let table: [(&[&str], &str, &str); 9] = [
        (&["vm1,vm1"], "the host \"vm1\" is named twice", twice),
        (&["web", "vm1"], "the host \"vm1\" is named twice", twice),
        (&["prod,web"], "the host \"vm1\" is named twice", twice),
        (&["qemu:///system,qemu:///system"], "the host \"qemu:///system\" is named twice", twice),
        (&["home.1", "same"], "the hosts \"home.1\" and \"same\" are one daemon: test:///default", out),
        (
            &["vm1,wbe"],
            "there is no context and no group \"wbe\"",
            "did you mean web? All there are: vmwire context list",
        ),
        (&["vm1,,web"], "an empty name among the hosts \"vm1,,web\"", commas),
        (&[""], "an empty name among the hosts \"\"", commas),
        (&["vm1,foo:///system"], "there is no driver \"foo\"", &"foo:///system".parse::<Uri>().unwrap_err().hint()),
    ];
    for (lists, message, hint) in table {
        let (told, way_out) = asked(lists, &same).unwrap_err();
        assert_eq!((told.as_str(), way_out.as_str()), (message, hint), "{lists:?}");
    }
    let many: Vec<String> = (0..=HOSTS_MAX).map(|number| format!("qemu+tcp://h:{}/system", number + 1)).collect();
    let (told, hint) = asked(&[&many.join(",")], "").unwrap_err();
    assert_eq!(told, "1025 hosts are named, and at most 1024 are asked");
    assert_eq!(hint, "ask some of them at a time");
    let none = asked(&["a"], "").unwrap_err().1;
    assert_eq!(none, "there are no contexts yet; make one: vmwire context add NAME qemu+ssh://USER@HOST/system");
}

#[test]
fn a_disk_that_is_full_leaves_what_was_there() {
    let error = ContextsError::Unwritable {
        path: "/f".into(),
        error: Arc::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
    };
    assert_eq!(error.to_string(), "cannot write /f");
    assert_eq!(error.hint(), "make room and do it again; what was there is as it was");
}
