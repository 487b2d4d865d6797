use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::desired::values::SshPeer;

/// The options alone, as a command line.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    signing: Signing,
}

fn line(words: &str) -> Line {
    Line::try_parse_from(["init"].into_iter().chain(words.split_whitespace())).unwrap()
}

fn settled(words: &str) -> Result<Wish, String> {
    let inside = Visitor::of_ssh("198.51.100.7 50000 192.0.2.1 2222").into_iter().collect();
    line(words).options.settle(&inside).map_err(|told| told.message)
}

#[test]
fn what_can_be_wished_is_valid_and_what_is_written_is_what_was_said() {
    for (words, nodes, warnings) in [
        ("", 5, 0),
        ("--pool-size 1 --countries de,NL,no --socks-port 9100 --pool-name eu-1", 1, 0),
        ("--socks-allow 203.0.113.0/24,2001:db8::7 --panel-allow 198.51.100.7,2001:db8::/32", 5, 0),
        ("--socks-allow 2001:db8::/32 --driver ufw", 5, 0),
        ("--socks-allow 0.0.0.0/0 --no-firewall", 5, 2),
        ("--listen ::1 --driver none", 5, 0),
        ("--ssh-allow any", 5, 0),
        ("--ssh-allow 198.51.100.0/24,2001:db8::1 --ssh-ports 22,2222", 5, 0),
    ] {
        let wish = settled(words).unwrap();
        let text = document::text(&wish);
        let loaded = load(FILE, text.as_bytes()).unwrap_or_else(|invalid| panic!("{words}: {invalid}\n{text}"));
        let desired = loaded.desired;
        assert_eq!(
            (desired.size(), loaded.warnings.len()),
            (nodes, warnings),
            "{words}: {:?}\n{text}",
            loaded.warnings
        );
        let pool = &desired.pools[0];
        let wished: BTreeSet<_> = wish.countries.iter().copied().collect();
        assert_eq!((&pool.name, &*pool.countries), (&wish.pool, &wished), "{words}");
        assert_eq!((pool.listen, pool.socks_port), (wish.listen, wish.socks_port), "{words}");
        assert_eq!(desired.firewall.driver, wish.driver, "{words}");
        let closes = |ssh: &wish::Ssh| !ssh.allow.iter().any(|peer| matches!(peer, SshPeer::Any));
        assert_eq!(desired.access.ssh.is_some(), wish.ssh.as_ref().is_some_and(closes), "{words}");
        assert!(text.lines().all(|line| line.len() < 130 && line.trim_end() == line), "{text}");
    }
}

#[test]
fn nobody_is_let_in_whom_nobody_names() {
    assert!(settled("").unwrap().is_for_this_host());
    assert_eq!(settled("--socks-allow 203.0.113.7").unwrap().listen.to_string(), "0.0.0.0");
    assert_eq!(settled("--socks-allow 2001:db8::7").unwrap().listen.to_string(), "::");
    let open = settled("--listen 0.0.0.0").unwrap_err();
    assert!(open.contains("nobody is named who may: name them with --socks-allow"), "{open}");
    let both = settled("--socks-allow 203.0.113.7,2001:db8::7").unwrap().remarks();
    assert!(both[0].starts_with("2001:db8::7/128 cannot reach nodes that listen on 0.0.0.0"), "{both:?}");
}

#[test]
fn who_uses_ssh_now_is_not_locked_out() {
    let told = settled("--ssh-allow 203.0.113.0/24").unwrap_err();
    assert!(told.starts_with("198.51.100.7 uses SSH (port 2222) now and would be locked out: add it"), "{told}");
    // The port of the session is guarded as well, unless others are said.
    let ports = settled("--ssh-allow 198.51.100.7").unwrap().ssh.unwrap().ports;
    assert_eq!(ports, BTreeSet::from([22, 2222]));
    assert!(settled("--ssh-allow 203.0.113.0/24 --ssh-ports 22").is_ok());
    let none = settled("--ssh-allow any --driver none").unwrap_err();
    assert!(none.contains("needs a firewall that is kept"), "{none}");
}

#[test]
fn a_question_is_asked_until_its_answer_is_understood_and_not_where_an_option_has_said_it() {
    let Line { options, mut signing } = line("--driver nftables");
    let asked = std::cell::RefCell::new(Vec::new());
    let answers = "many\n3\nde, xx\nde, nl\n203.0.113.0/24 2001:db8::/32\n\n/no/such/key\n";
    let mut dialogue = Dialogue::new(answers.as_bytes(), |question: &str| asked.borrow_mut().push(question.to_owned()));
    let complete = dialogue.complete(&options, &mut signing).unwrap();
    let wish = complete.settle(&BTreeSet::new()).unwrap();
    let countries: Vec<String> = wish.countries.iter().map(ToString::to_string).collect();
    assert_eq!((wish.size, countries, wish.socks.len(), wish.panel.len()), (3, vec!["de".into(), "nl".into()], 2, 0));
    assert_eq!((wish.driver.name(), signing.is_said()), ("nftables", true));
    assert_eq!(asked.borrow().len(), 7, "{asked:?}");

    let Line { options, mut signing } = line("");
    let defaults = Dialogue::new("\n\n\n\n\n\n".as_bytes(), |_: &str| ()).complete(&options, &mut signing).unwrap();
    let wish = defaults.settle(&BTreeSet::new()).unwrap();
    assert_eq!((wish.size, wish.is_for_this_host(), signing.is_said()), (5, true, false));
    let ended = Dialogue::new("3\n".as_bytes(), |_: &str| ()).complete(&options, &mut signing).unwrap_err();
    assert_eq!(ended.to_string(), "there are no more answers: nothing was made");
}

#[test]
fn the_lines_to_run_next_say_what_a_daemon_has_to_be_told() {
    let wish = settled("--panel-allow 198.51.100.7").unwrap();
    let trusted = Some((Path::new("/srv/p.allowed_signers"), "4f0c"));
    assert_eq!(
        next(Path::new("/srv/my pool"), "trunk", &wish, trusted)[1],
        "exitpool run --source '/srv/my pool' --branch trunk --allowed-signers /srv/p.allowed_signers --first-commit 4f0c \
         --listen 0.0.0.0:8080"
    );
    assert_eq!(
        next(Path::new("/srv/pool"), "main", &wish, trusted)[2],
        "sh install.sh --source /srv/pool --set EXITPOOL_ALLOWED_SIGNERS=/srv/p.allowed_signers \
         --set EXITPOOL_FIRST_COMMIT=4f0c --set EXITPOOL_LISTEN=0.0.0.0:8080"
    );
    assert_eq!(quoted("it's"), r"'it'\''s'");
}
