//! A real Alertmanager: what it is told fires there, is routed by its own rules, and is over when it is over.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::desk::{Desk, FIRES, RESTS};
use super::endpoint::Endpoint;
use crate::support::{eventually, is_installed, skip};

const PROGRAM: &str = "prometheus-alertmanager";

struct Alertmanager<'a> {
    child: Child,
    desk: &'a Desk,
}

const ADDRESS: &str = "127.0.0.1:9093";

impl<'a> Alertmanager<'a> {
    /// Starts one that tells an endpoint at once.
    fn start(desk: &'a Desk, team: &Endpoint) -> Option<Self> {
        if !is_installed(PROGRAM) || !is_installed("amtool") {
            skip("there is no Alertmanager (Debian: apt install prometheus-alertmanager)");
            return None;
        }
        let receiver = format!("{{name: team, webhook_configs: [{{url: '{}', send_resolved: true}}]}}", team.url());
        let route = "{receiver: team, group_wait: 0s, group_interval: 1s, group_by: [alertname]}";
        let configuration = desk.file("alertmanager.yml", &format!("route: {route}\nreceivers: [{receiver}]\n"));
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", desk.host.netns.pid())).arg(PROGRAM);
        command.arg(format!("--config.file={configuration}"));
        command.arg(format!("--storage.path={}", desk.at("alertmanager").display()));
        command.arg(format!("--web.listen-address={ADDRESS}")).arg("--cluster.listen-address=");
        let log = fs::File::create(desk.at("alertmanager.log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let started = Self { child, desk };
        eventually(|| started.firing().is_some().then_some(())).expect("Alertmanager does not start");
        Some(started)
    }

    /// The alerts that fire, as amtool tells them.
    fn firing(&self) -> Option<Vec<Value>> {
        let script = format!("amtool --alertmanager.url=http://{ADDRESS} alert query --output=json");
        let output = self.desk.host.netns.try_sh(&script);
        serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())
    }
}

impl Drop for Alertmanager<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_alert_fires_in_a_real_alertmanager_and_is_over_there() {
    let Some(mut desk) = Desk::new() else { return };
    let team = Endpoint::new(&desk.host.netns);
    let channel = format!("{{name: team, alertmanager: {{url: 'http://{ADDRESS}'}}}}");
    desk.desire(&channel, FIRES);
    // It is told once it is there: what was decided before is not lost.
    desk.start();
    desk.says("nobody is there", |alerts| alerts["channels"][0]["failing"].is_string());
    let Some(alertmanager) = Alertmanager::start(&desk, &team) else { return };

    let fires = || alertmanager.firing().filter(|alerts| !alerts.is_empty());
    let firing = eventually(fires).unwrap_or_else(|| panic!("nothing fires: {}", desk.alerts())).remove(0);
    let labels = &firing["labels"];
    assert_eq!(labels["alertname"], "ExitpoolStateDirectoryFull", "{firing}");
    assert_eq!((labels["severity"].as_str(), labels["job"].as_str()), (Some("critical"), Some("exitpool")));
    assert!(firing["annotations"]["summary"].as_str().unwrap().contains("% full"), "{firing}");
    assert_eq!(team.wait(1)[0].json()["status"], "firing");

    desk.desire(&channel, RESTS);
    let none = || alertmanager.firing().filter(Vec::is_empty);
    assert!(eventually(none).is_some(), "it still fires: {:?}", alertmanager.firing());
    let told = eventually(|| team.kept().into_iter().find(|request| request.json()["status"] == "resolved"));
    assert!(told.is_some(), "{:#?}", team.kept());
}
