//! The deployment files, checked by the tools that read them in earnest, and every configuration
//! in them by the binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use vodbridge_tests::installed::{tool, workspace};
use vodbridge_tests::scratch;

use crate::workload::{Workload, list, objects, run, seconds, secret, string};

const OVERLAYS: [&str; 3] = ["dev", "staging", "prod"];
const SECRETS: [&str; 5] = [
    "VOD_SIGN_KEY",
    "KAFKA_PASSWORD",
    "AMQP_URL",
    "TENCENTCLOUD_SECRET_ID",
    "TENCENTCLOUD_SECRET_KEY",
];

fn compose() -> Result<Command> {
    let mut command = Command::new(tool("docker-compose")?);
    command
        .current_dir(workspace())
        .envs(["VOD_SIGN_KEY", "RABBITMQ_PASSWORD"].map(|name| (name, secret(name))))
        .args(["-f", "docker-compose.yml", "--profile", "*", "config"]);
    Ok(command)
}

#[test]
fn compose_accepts_its_file() {
    let mut command = compose().unwrap();
    let output = command.arg("-q").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // A variable that is not set is only a warning.
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

#[test]
fn every_configuration_in_compose_passes_the_check() {
    let text = run(compose().unwrap().args(["--format", "json"])).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let services = file["services"].as_object().expect("services");
    let ours: Vec<_> = services
        .iter()
        .filter(|(_, s)| s["image"] == "vodbridge:local")
        .collect();
    assert!(ours.len() >= 3, "a bridge for each broker, not {ours:?}");
    for (name, service) in ours {
        let workload = workload_of_service(name, service);
        assert_eq!(workload.check().unwrap(), 2, "{name}");
        if workload.arguments[0] == "run" {
            let grace = seconds(&string(&service["stop_grace_period"])).unwrap();
            assert!(
                grace > workload.drain_timeout().unwrap(),
                "{name} is killed within its drain"
            );
        }
    }
}

fn workload_of_service(name: &str, service: &Value) -> Workload {
    let mount = |volume: &Value| (string(&volume["target"]), string(&volume["source"]).into());
    let binds = list(&service["volumes"])
        .iter()
        .filter(|volume| volume["type"] == "bind");
    let environment = service["environment"].as_object().into_iter().flatten();
    Workload {
        name: name.to_owned(),
        arguments: list(&service["command"]).iter().map(string).collect(),
        environment: environment
            .map(|(key, value)| (key.clone(), string(value)))
            .collect(),
        mounts: binds.map(mount).collect(),
    }
}

#[test]
fn hadolint_accepts_the_dockerfile() {
    let dockerfile = workspace().join("deploy/docker/Dockerfile");
    run(Command::new(tool("hadolint").unwrap()).arg(dockerfile)).unwrap();
}

#[test]
fn every_overlay_is_valid_kubernetes() {
    let directory = scratch::directory("overlays").unwrap();
    let files = OVERLAYS.map(|overlay| {
        let file = directory.path().join(format!("{overlay}.yaml"));
        std::fs::write(&file, kustomize(overlay).unwrap()).unwrap();
        file
    });
    let mut validate = Command::new(tool("kubernetes-validate").unwrap());
    let report = run(validate.arg("--strict").args(files)).unwrap();
    // A kind that it has no schema for is only a warning.
    assert!(!report.contains("WARN"), "{report}");
}

#[test]
fn every_rendered_configuration_passes_the_check() {
    for overlay in OVERLAYS {
        let objects = objects(&kustomize(overlay).unwrap()).unwrap();
        let kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
        let pods = kind("Deployment").chain(kind("StatefulSet"));
        for set in kind("StatefulSet") {
            let retention = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
            assert_eq!(
                (&retention["whenScaled"], &retention["whenDeleted"]),
                (&"Retain".into(), &"Retain".into())
            );
            let replicas = set["spec"]["replicas"].as_u64();
            assert!(
                overlay == "dev" || replicas >= Some(2),
                "{overlay}: {replicas:?}"
            );
        }
        let mut checked = 0;
        for pod in pods.map(|object| &object["spec"]["template"]["spec"]) {
            let directory = scratch::directory("configuration").unwrap();
            let maps = kind("ConfigMap").collect::<Vec<_>>();
            let workload = workload_of_pod(overlay, pod, &maps, directory.path()).unwrap();
            assert_eq!(workload.check().unwrap(), 2, "{overlay}");
            let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
            let container = &pod["containers"][0];
            let before = &container["lifecycle"]["preStop"]["exec"]["command"];
            let before: Vec<_> = list(before).iter().map(string).collect();
            let wait = before.iter().find_map(|word| word.strip_prefix("--for="));
            let wait = seconds(wait.expect("it waits for its spool")).unwrap();
            assert!(
                grace > wait + workload.drain_timeout().unwrap(),
                "{overlay} is killed within its drain"
            );
            assert_eq!(before[..3], ["vodbridge", "spool", "wait"]);
            let spool = before
                .iter()
                .find_map(|word| word.strip_prefix("--directory="));
            let spool = Path::new(spool.expect("it knows its spool"));
            let mounts = list(&container["volumeMounts"]).iter();
            let claimed = mounts.map(|mount| (string(&mount["mountPath"]), string(&mount["name"])));
            let claim = claimed.filter(|(place, _)| spool.starts_with(place)).max();
            assert_eq!(claim.map(|(_, name)| name).as_deref(), Some("state"));
            checked += 1;
        }
        assert_eq!(checked, 1, "{overlay} runs the bridge");
    }
}

fn kustomize(overlay: &str) -> Result<String> {
    let directory = workspace().join("deploy/kubernetes/overlays").join(overlay);
    // The configuration files are outside the kustomization's own directory.
    run(Command::new("kubectl").arg("kustomize").arg(directory))
}

/// The bridge in a pod, with the ConfigMaps that it mounts written below `directory`.
fn workload_of_pod(name: &str, pod: &Value, maps: &[&Value], directory: &Path) -> Result<Workload> {
    let container = &pod["containers"][0];
    let mut mounts = BTreeMap::new();
    for mount in list(&container["volumeMounts"]) {
        let named = |volume: &&Value| volume["name"] == mount["name"];
        let Some(volume) = list(&pod["volumes"]).iter().find(named) else {
            continue;
        };
        let place = directory.join(string(&mount["name"]));
        std::fs::create_dir(&place)?;
        let projected = list(&volume["projected"]["sources"]).iter();
        for source in projected
            .chain([volume])
            .filter(|source| source["configMap"].is_object())
        {
            let map = &source["configMap"]["name"];
            let map = maps
                .iter()
                .find(|object| object["metadata"]["name"] == *map);
            let data =
                map.with_context(|| format!("no ConfigMap for {source}"))?["data"].as_object();
            for (file, content) in data.into_iter().flatten() {
                std::fs::write(place.join(file), string(content))?;
            }
        }
        mounts.insert(string(&mount["mountPath"]), place);
    }
    let variable = |variable: &Value| {
        let name = string(&variable["name"]);
        let value = variable["value"].as_str().map(str::to_owned);
        (name.clone(), value.unwrap_or_else(|| secret(&name)))
    };
    Ok(Workload {
        name: name.to_owned(),
        arguments: list(&container["args"]).iter().map(string).collect(),
        environment: list(&container["env"]).iter().map(variable).collect(),
        mounts,
    })
}

/// Each environment's file and each broker's stands on the base; where events come from stands on
/// a broker's.
#[test]
fn every_configuration_file_passes_the_check_on_top_of_the_base() {
    let directory = workspace().join("deploy/config");
    let files = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let layers: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .filter(|path| !path.ends_with("base.yaml") && !path.ends_with("kustomization.yaml"))
        .collect();
    assert!(
        layers.len() >= 6,
        "an environment each and a broker each, not {layers:?}"
    );
    for layer in layers {
        let file = layer.file_name().unwrap().to_string_lossy();
        let below = match &*file {
            "reliable.yaml" => ["base.yaml", "kafka.yaml"].as_slice(),
            _ => &["base.yaml"],
        };
        let (files, expected) = (below.iter().copied().chain([&*file]), below.len() + 1);
        let workload = Workload {
            name: file.to_string(),
            arguments: files.map(|file| format!("--config=/c/{file}")).collect(),
            environment: SECRETS.map(|name| (name.to_owned(), secret(name))).into(),
            mounts: [("/c".to_owned(), directory.clone())].into(),
        };
        assert_eq!(workload.check().unwrap(), expected);
    }
}

#[test]
fn alerts_are_on_metrics_that_the_readme_names() {
    let read = |file: &str| std::fs::read_to_string(workspace().join(file)).unwrap();
    let (rules, readmes) = (
        read("deploy/prometheus/alerts.yaml"),
        ["README.md", "README.zh-CN.md"].map(read),
    );
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names: Vec<_> = words
        .filter(|word| word.starts_with("vodbridge_"))
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        for readme in &readmes {
            assert!(readme.contains(&format!("`{name}`")), "{name}");
        }
    }
}
