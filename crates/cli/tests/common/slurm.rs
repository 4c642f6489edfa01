//! A Slurm cluster of one node on the loopback interface, for one test.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The three daemons, with everything they write in a temporary folder. They end with it.
pub struct Cluster {
    folder: tempfile::TempDir,
    daemons: Vec<Child>,
}

/// Why this machine can run none, if so.
pub fn missing() -> Option<String> {
    let works = |program: &str, argument: &str| {
        let run = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
        run.is_ok()
    };
    let programs = ["munged", "slurmctld", "slurmd"].into_iter().filter(|program| !works(program, "-V"));
    match programs.collect::<Vec<_>>()[..] {
        [] if capture(Command::new("id").arg("-u")).trim() != "0" => Some("slurmd needs root".into()),
        [] => None,
        ref programs => Some(format!("not installed: {} (Debian: slurm-wlm munge)", programs.join(", "))),
    }
}

impl Cluster {
    /// Starts one with two processors and waits until it takes jobs.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Self { daemons: Vec::new(), folder };
        cluster.write_files();
        let at = |name: &str| cluster.folder.path().join(name).display().to_string();
        let munged = [
            "-F".into(),
            format!("--key-file={}", at("munge/munge.key")),
            format!("--socket={}", at("munge/munge.sock")),
            format!("--pid-file={}", at("munge/munged.pid")),
            format!("--log-file={}", at("munge/munged.log")),
            format!("--seed-file={}", at("munge/munged.seed")),
        ];
        let conf = at("slurm.conf");
        let mut cluster = cluster;
        cluster.daemon("munged", &munged);
        cluster.until("munged listens", || cluster.folder.path().join("munge/munge.sock").exists());
        cluster.daemon("slurmctld", &["-D".into(), "-f".into(), conf.clone()]);
        cluster.daemon("slurmd", &["-D".into(), "-f".into(), conf, "-N".into(), host()]);
        cluster.until("the node is idle", || cluster.call("sinfo", &["-h", "-o", "%T"]).trim() == "idle");
        cluster
    }

    fn write_files(&self) {
        let path = self.folder.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("allowed");
        for name in ["state", "spool", "munge"] {
            fs::create_dir(path.join(name)).expect("a folder");
        }
        let key = path.join("munge/munge.key");
        let mut random = vec![0; 1024];
        let source = fs::File::open("/dev/urandom").expect("random bytes");
        std::io::Read::read_exact(&mut &source, &mut random).expect("random bytes");
        fs::write(&key, random).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("allowed");
        fs::set_permissions(path.join("munge"), fs::Permissions::from_mode(0o711)).expect("allowed");
        fs::write(path.join("slurm.conf"), self.configuration()).expect("written");
    }

    /// Loopback alone, no accounting, and no waiting that is not needed. `cred_expire` is also how long a requeued
    /// task waits; less than 5 is not taken.
    fn configuration(&self) -> String {
        let (host, d) = (host(), self.folder.path().display());
        // Both stay bound until both are known, so that they differ.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [control, node] = free.each_ref().map(|port| port.local_addr().expect("an address").port());
        format!(
            "ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SlurmUser=root
SlurmdUser=root
KillWait=1
EpilogMsgTime=100
AuthType=auth/munge
AuthInfo=socket={d}/munge/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/spool
SlurmctldPidFile={d}/slurmctld.pid
SlurmdPidFile={d}/slurmd.pid
SlurmctldLogFile={d}/slurmctld.log
SlurmdLogFile={d}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"
        )
    }

    fn daemon(&mut self, program: &str, arguments: &[String]) {
        let mut command = Command::new(program);
        let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemons.push(child.spawn().expect("a daemon"));
    }

    /// The configuration that its commands find in `SLURM_CONF`.
    pub fn conf(&self) -> PathBuf {
        self.folder.path().join("slurm.conf")
    }

    /// What a command of Slurm prints.
    pub fn call(&self, program: &str, arguments: &[&str]) -> String {
        capture(Command::new(program).args(arguments).env("SLURM_CONF", self.conf()))
    }

    /// Waits for something, and tells what the controller said if it does not come.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            if start.elapsed() > Duration::from_secs(60) {
                let log = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
                let queue = self.call("squeue", &["-r"]);
                panic!(
                    "waited in vain until {what}\n{queue}\n{}\n{}",
                    log("slurmctld.log"),
                    log("slurmd.log")
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the queue is empty.
    pub fn drain(&self) {
        self.until("the queue is empty", || self.call("squeue", &["-h", "-r"]).trim().is_empty());
    }
}

impl Drop for Cluster {
    /// Jobs first, so that no child of slurmd outlives the test; then the daemons.
    fn drop(&mut self) {
        let _ = self.call("scancel", &["--me", "--signal=KILL", "--full"]);
        let _ = self.call("scancel", &["--me"]);
        for daemon in self.daemons.iter_mut().rev() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let end = Instant::now() + Duration::from_secs(5);
            while matches!(daemon.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn host() -> String {
    capture(Command::new("hostname").arg("-s")).trim().to_owned()
}

fn capture(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).into_owned()
}
