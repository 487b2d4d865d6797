//! `deploy/kubernetes`, built by kustomize and held against Kubernetes' schemas; and a ConfigMap, changed as the kubelet does.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use exitpool::desired::Desired;
use exitpool::desired::load::load;
use exitpool::source::{Source, SourceSpec};
use serde_json::{Value, json};

use super::{root, shipped};
use crate::remotes::host::{Host, document, pids};
use crate::support::python_tool;

/// What kustomize makes of a directory.
struct Built {
    objects: Vec<Value>,
    problems: Vec<String>,
}

/// Builds a kustomization; `None` where kustomize is not there.
fn build(directory: &Path) -> Option<Built> {
    let python = python_tool("deploy", "python")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/kustomize.py");
    let output = Command::new(python).arg(script).arg(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = serde_json::from_value(said["objects"].take()).unwrap();
    Some(Built { objects, problems: serde_json::from_value(said["problems"].take()).unwrap() })
}

impl Built {
    fn valid(directory: &str) -> Option<Self> {
        let built = build(&root(directory))?;
        assert!(built.problems.is_empty(), "{:#?}", built.problems);
        Some(built)
    }

    fn one(&self, kind: &str, name: &str) -> &Value {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        self.objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn pod(&self) -> &Value {
        &self.one("StatefulSet", "exitpool")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        &self.pod()["spec"]["containers"][0]
    }

    /// The desired state of the ConfigMap, with its lists, as the daemon reads it.
    fn desired(&self) -> Desired {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in self.one("ConfigMap", "exitpool")["data"].as_object().unwrap() {
            fs::write(place.path().join(name), text.as_str().unwrap()).unwrap();
        }
        let file = place.path().join("pool.yaml").display().to_string();
        let spec = SourceSpec::from_options(&file, "main", "pool.yaml").unwrap();
        let candidate = Source::new(spec).candidate().unwrap();
        load(&candidate.file, candidate.given()).unwrap().desired
    }
}

/// Every selector chooses the pods of the StatefulSet, and what is said of them fits the desired state beside it.
fn hangs_together(built: &Built) {
    let labels = &built.pod()["metadata"]["labels"];
    let chooses = |selector: &Value, what: &str| {
        let selector = selector.as_object().unwrap();
        assert!(!selector.is_empty(), "{what} chooses every pod of the namespace");
        assert!(selector.iter().all(|(name, value)| labels[name] == *value), "{what} chooses none: {selector:?}");
    };
    let specs = |kind: &str, name: &str| built.one(kind, name)["spec"].clone();
    chooses(&specs("StatefulSet", "exitpool")["selector"]["matchLabels"], "the StatefulSet");
    chooses(&specs("PodDisruptionBudget", "exitpool")["selector"]["matchLabels"], "the PodDisruptionBudget");
    chooses(&specs("NetworkPolicy", "exitpool")["podSelector"]["matchLabels"], "the NetworkPolicy");
    chooses(&specs("Service", "exitpool")["selector"], "the Service");
    chooses(&specs("Service", "exitpool-socks")["selector"], "the nodes' Service");

    let desired = built.desired();
    let pool = &desired.pools[0];
    assert_eq!(desired.pools.len(), 1);
    let ports: Vec<Value> = specs("Service", "exitpool-socks")["ports"].as_array().unwrap().clone();
    let nodes: Vec<Value> = (0..pool.size)
        .map(|index| json!({"name": format!("{}-{index}", pool.name), "port": pool.socks_port + index}))
        .collect();
    assert_eq!(ports, nodes, "each node has a port");
    let policy = specs("NetworkPolicy", "exitpool");
    let doors = policy["ingress"].as_array().unwrap();
    let addresses = |door: &Value| -> BTreeSet<String> {
        let blocks = door["from"].as_array().unwrap().iter();
        blocks.map(|from| from["ipBlock"]["cidr"].as_str().unwrap().to_owned()).collect()
    };
    let listed = |nets: &BTreeSet<ipnet::IpNet>| -> BTreeSet<String> { nets.iter().map(ToString::to_string).collect() };
    assert_eq!(addresses(&doors[0]), listed(&desired.access.socks.iter().copied().collect()), "access.socks");
    assert_eq!(addresses(&doors[1]), listed(&desired.access.panel.iter().copied().collect()), "access.panel");
    let range = json!([{"protocol": "TCP", "port": pool.socks_port, "endPort": pool.socks_port + pool.size - 1}]);
    assert_eq!((&doors[0]["ports"], doors.len()), (&range, 2), "the nodes' ports, and the page's");
}

#[test]
fn the_base_is_valid_and_asks_for_no_rights() {
    let Some(built) = Built::valid("kubernetes/base") else { return };
    hangs_together(&built);
    // What the Pod Security Standard `restricted` asks for, and a file system that is read alone.
    let (pod, container) = (&built.pod()["spec"], built.container());
    let of_the_pod = [("runAsNonRoot", json!(true)), ("runAsUser", json!(10001)), ("fsGroup", json!(10001))];
    for (field, value) in of_the_pod {
        assert_eq!(pod["securityContext"][field], value, "{field}");
    }
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let rights = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
    });
    assert_eq!(container["securityContext"], rights);
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[field].is_null(), "{field}");
    }
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert!(shipped("container/Dockerfile").contains("USER 10001:10001"), "the image has that user");

    // What is written is a volume, and what is read is a directory that the kubelet can change.
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mounted = |path: &str| mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
    assert!(mounted("/etc/exitpool")["subPath"].is_null());
    let named = |name: &Value| pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == *name);
    assert_eq!(named(&mounted("/etc/exitpool")["name"]).unwrap()["configMap"]["name"], "exitpool");
    assert!(named(&mounted("/run/exitpool")["name"]).unwrap()["emptyDir"].is_object());
    let claims = &built.one("StatefulSet", "exitpool")["spec"]["volumeClaimTemplates"];
    assert_eq!(claims[0]["metadata"]["name"], mounted("/var/lib/exitpool")["name"]);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let command: Vec<&str> =
            container[probe]["exec"]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(command[..2], ["exitpool", "healthcheck"], "{probe}");
    }
    assert!(container["livenessProbe"]["exec"]["command"][2].is_null(), "what waits for its first pass is not killed");
}

#[test]
fn the_example_has_the_guard_and_is_scraped() {
    let Some(built) = Built::valid("kubernetes/overlays/example") else { return };
    hangs_together(&built);
    let container = built.container();
    assert_eq!(container["securityContext"]["capabilities"], json!({"add": ["NET_ADMIN"], "drop": ["ALL"]}));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(built.pod()["spec"]["securityContext"]["runAsNonRoot"], true);
    // The image's own way in, with the program in front that takes the capability up.
    assert!(shipped("container/Dockerfile").contains(r#"ENTRYPOINT ["tini", "--", "exitpool"]"#));
    assert_eq!(container["command"], json!(["tini", "--", "exitpool-with-guard"]));
    assert_eq!((&container["args"], container["image"].as_str().unwrap().contains("example")), (&json!(["run"]), true));
    let monitor = built.one("ServiceMonitor", "exitpool");
    let service = built.one("Service", "exitpool");
    for (name, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service["metadata"]["labels"][name], *value, "the monitor finds the Service");
    }
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!((&endpoint["port"], &endpoint["path"]), (&service["spec"]["ports"][0]["name"], &json!("/metrics")));
    assert!(built.objects.iter().all(|it| it["kind"] == "Namespace" || it["metadata"]["namespace"].is_string()));
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_found() {
    let place = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(root("kubernetes/base")).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(entry.path(), place.path().join(entry.file_name())).unwrap();
    }
    let file = place.path().join("statefulset.yaml");
    let misspelt = fs::read_to_string(&file).unwrap().replace("  replicas: 1", "  replica: 1");
    fs::write(&file, misspelt).unwrap();
    let Some(built) = build(place.path()) else { return };
    assert!(built.problems.len() == 1 && built.problems[0].contains("replica"), "{:?}", built.problems);
}

/// A directory into which the kubelet projects a ConfigMap: files are links to `..data/<file>`, which is a link to the version.
struct Projected {
    directory: PathBuf,
    versions: u32,
}

impl Projected {
    /// Puts another version in place, and takes the one before away.
    fn publish(&mut self, files: &[(&str, &str)]) {
        let at = |name: &str| self.directory.join(name);
        let before = fs::read_link(at("..data")).ok();
        self.versions += 1;
        let version = format!("..2026_11_27_12_00_00.{}", self.versions);
        fs::create_dir(at(&version)).unwrap();
        for (name, text) in files {
            fs::write(at(&version).join(name), text).unwrap();
        }
        symlink(&version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        for (name, _) in files.iter().filter(|(name, _)| fs::symlink_metadata(at(name)).is_err()) {
            symlink(Path::new("..data").join(name), at(name)).unwrap();
        }
        if let Some(before) = before {
            fs::remove_dir_all(at(before.to_str().unwrap())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_is_followed_while_the_kubelet_swaps_its_links() {
    let Some(mut host) = Host::new() else { return };
    let mut projected = Projected { directory: host.kit.at("config"), versions: 0 };
    fs::create_dir(&projected.directory).unwrap();
    let wish = |nodes: u16| document(nodes) + "access: {socks: [{file: clients.txt}]}\n";
    let (one, list) = (wish(1), "10.1.0.0/16\n");
    let runtime_dir = host.runtime_dir();
    let probe = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exitpool"));
        let output = command.arg("healthcheck").arg("--runtime-dir").arg(&runtime_dir).args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let absent = probe(&[]);
    assert!(absent.0 == Some(1) && absent.1.contains("no exitpool daemon answers"), "{absent:?}");
    // What has never understood a version lives, and is not ready.
    projected.publish(&[("pool.yaml", "version: 1\npools: none\n")]);
    host.start_believing(&projected.directory.join("pool.yaml").display().to_string(), &[]);
    host.condition("Stalled", "True", "pools").await;
    let waiting = probe(&["--ready"]);
    assert!(waiting.0 == Some(1) && waiting.1.contains("the first pass is not done"), "{waiting:?}");
    assert_eq!(probe(&[]).0, Some(0));
    projected.publish(&[("pool.yaml", &one), ("clients.txt", list)]);
    let first = host.sees("the first version", |report| pids(report).len() == 1).await.status["revision"].clone();
    // A list alone has changed: it and the file are of one version.
    projected.publish(&[("pool.yaml", &one), ("clients.txt", "10.2.0.0/16\n")]);
    let listed = host.sees("the other list", |report| report.status["revision"] != first).await;
    assert_eq!((pids(&listed).len(), probe(&["--ready"]).0), (1, Some(0)));
    // What nobody understands changes nothing.
    projected.publish(&[("pool.yaml", "version: 1\npools: none\n"), ("clients.txt", list)]);
    let refused = host.condition("Stalled", "True", "pools").await;
    assert_eq!((&refused.status["revision"], pids(&refused).len()), (&listed.status["revision"], 1));
    projected.publish(&[("pool.yaml", &wish(2)), ("clients.txt", list)]);
    let second = host.sees("the second node", |report| pids(report).len() == 2).await;
    // A version without a list that the file names is one that nobody understands; with it, all is well again.
    projected.publish(&[("pool.yaml", &wish(3))]);
    let missing = host.condition("Stalled", "True", "clients.txt").await;
    assert_eq!(missing.status["revision"], second.status["revision"]);
    projected.publish(&[("pool.yaml", &wish(3)), ("clients.txt", list)]);
    host.sees("the third node", |report| pids(report).len() == 3).await;
    host.stop();
}
