//! Control groups: finding the one of a service, and holding it with the freezer of either version.
//!
//! Facts from the kernel's documentation: `cgroup-v2` ("cgroup.freeze", "cgroup.events": a change is told by `POLLPRI`)
//! and `cgroup-v1/freezer-subsystem` (`freezer.state`, no notification; writing `FROZEN` again helps a slow freeze along).
//! A machine may have both ("hybrid"): then only one of them has the processes of a service, by the same relative path.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stillpoint_model::{CgroupVersion, Deadline, WriterError};

/// How often the version 1 freezer is asked, which tells nobody when it is done.
const ASK_INTERVAL: Duration = Duration::from_micros(500);

/// A control group with a freezer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// Which freezer it has.
    pub version: CgroupVersion,
}

/// How a control group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// It was itself asked to freeze.
    pub own: bool,
    /// A group above it was asked to freeze, and so holds it too.
    pub above: bool,
    /// All its processes are held.
    pub frozen: bool,
}

impl Cgroup {
    /// The control group at `folder`. An error when it is not there or has no freezer (the top of a hierarchy has none).
    pub fn open(folder: &Path) -> Result<Self, WriterError> {
        Self::at(folder).ok_or_else(|| {
            WriterError::Other(format!(
                "{} is no control group with a freezer: it has neither cgroup.freeze nor freezer.state; see `ls {0}`",
                folder.display()
            ))
        })
    }

    fn at(folder: &Path) -> Option<Self> {
        let has = |name: &str| folder.join(name).exists();
        let version = if has("cgroup.freeze") {
            CgroupVersion::V2
        } else if has("freezer.state") {
            CgroupVersion::V1
        } else {
            return None;
        };
        Some(Self { folder: folder.to_owned(), version })
    }

    /// The control group with the path that systemd tells (`ControlGroup`, such as `/system.slice/app.service`) in the
    /// first hierarchy with a freezer in which it has processes. Nothing when there is none.
    pub fn find(control_group: &str) -> Result<Option<Self>, WriterError> {
        let relative = control_group.trim_start_matches('/');
        if relative.is_empty() {
            return Ok(None);
        }
        for root in hierarchies()? {
            if let Some(cgroup) = Self::at(&root.join(relative)).filter(|cgroup| cgroup.has_processes()) {
                return Ok(Some(cgroup));
            }
        }
        Ok(None)
    }

    fn has_processes(&self) -> bool {
        self.processes().is_ok_and(|processes| !processes.is_empty())
    }

    /// The ids of all processes in it and in the groups below it. Empty when the group is gone.
    pub fn processes(&self) -> Result<Vec<u32>, WriterError> {
        let mut processes = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let list = folder.join("cgroup.procs");
            match fs::read_to_string(&list) {
                Ok(text) => processes.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
                Err(error) if gone(&error) => continue,
                Err(source) => return Err(WriterError::Io { act: "read", path: list, source }),
            }
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
            }
        }
        Ok(processes)
    }

    /// Refuses a group whose freeze would hold us, the guard or process 1: nobody would be left to thaw it.
    pub fn refuse_if_it_holds_us(&self) -> Result<(), WriterError> {
        let own = fs::metadata("/proc/self/exe").ok();
        for process in self.processes()? {
            let who = if process == 1 {
                "process 1 of the system"
            } else if process == std::process::id() {
                "this program itself"
            } else if own.as_ref().is_some_and(|own| is_guard(process, own)) {
                "the guard"
            } else {
                continue;
            };
            return Err(WriterError::Other(format!(
                "the control group {} holds {who} (process {process}); frozen, nobody could thaw it. Name the group of \
                 the application alone",
                self.folder.display()
            )));
        }
        Ok(())
    }

    /// How it stands; nothing when the group is gone.
    pub fn hold(&self) -> Result<Option<Hold>, WriterError> {
        let read = || -> io::Result<Hold> {
            match self.version {
                CgroupVersion::V2 => Ok(Hold {
                    own: self.flag("cgroup.freeze")?,
                    above: self.frozen_above(),
                    frozen: is_frozen(&fs::read_to_string(self.folder.join("cgroup.events"))?),
                }),
                CgroupVersion::V1 => Ok(Hold {
                    own: self.flag("freezer.self_freezing")?,
                    above: self.flag("freezer.parent_freezing")?,
                    frozen: fs::read_to_string(self.folder.join("freezer.state"))?.trim() == "FROZEN",
                }),
            }
        };
        match read() {
            Ok(hold) => Ok(Some(hold)),
            Err(error) if gone(&error) => Ok(None),
            Err(source) => Err(self.error("read the freezer of", source)),
        }
    }

    fn flag(&self, name: &str) -> io::Result<bool> {
        Ok(fs::read_to_string(self.folder.join(name))?.trim() == "1")
    }

    fn frozen_above(&self) -> bool {
        let asked =
            |folder: &Path| fs::read_to_string(folder.join("cgroup.freeze")).map(|text| text.trim() == "1");
        // The top of the hierarchy has no such file.
        self.folder.ancestors().skip(1).map_while(|folder| asked(folder).ok()).any(|frozen| frozen)
    }

    /// Holds all processes of the group; returns once the kernel says that all are held.
    pub fn freeze(&self, deadline: Deadline) -> Result<(), WriterError> {
        let act = || format!("the freeze of the control group {}", self.folder.display());
        let done = match self.version {
            CgroupVersion::V2 => self.ask_v2(true, deadline),
            CgroupVersion::V1 => self.ask_v1("FROZEN", deadline),
        };
        match done {
            Ok(true) => Ok(()),
            Ok(false) => Err(WriterError::Late { act: act() }),
            Err(source) => Err(self.error("freeze", source)),
        }
    }

    /// Lets its processes go on; returns once the kernel says that they may, or that the group is gone. A group that is
    /// also held from above is let go for our part.
    pub fn thaw(&self, deadline: Deadline) -> Result<(), WriterError> {
        let done = match self.version {
            CgroupVersion::V2 => self.ask_v2(false, deadline),
            CgroupVersion::V1 => self.ask_v1("THAWED", deadline),
        };
        match done {
            Ok(true) => Ok(()),
            Err(error) if gone(&error) => Ok(()),
            Ok(false) => match self.hold()? {
                Some(Hold { own: true, .. } | Hold { above: false, frozen: true, .. }) => {
                    Err(WriterError::Late {
                        act: format!("the thaw of the control group {}", self.folder.display()),
                    })
                }
                _ => Ok(()),
            },
            Err(source) => Err(self.error("thaw", source)),
        }
    }

    fn ask_v2(&self, freeze: bool, deadline: Deadline) -> io::Result<bool> {
        // Opened and read before the request, so that no change is missed.
        let events = File::open(self.folder.join("cgroup.events"))?;
        read_events(&events)?;
        fs::write(self.folder.join("cgroup.freeze"), if freeze { "1" } else { "0" })?;
        loop {
            let frozen = is_frozen(&read_events(&events)?);
            if frozen == freeze || (!freeze && self.frozen_above()) {
                return Ok(true);
            }
            let left = deadline.remaining();
            if left.is_zero() {
                return Ok(false);
            }
            let wait = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)], Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ask_v1(&self, wanted: &str, deadline: Deadline) -> io::Result<bool> {
        let state = self.folder.join("freezer.state");
        loop {
            fs::write(&state, wanted)?;
            let found = fs::read_to_string(&state)?;
            if found.trim() == wanted || (wanted == "THAWED" && self.flag("freezer.parent_freezing")?) {
                return Ok(true);
            }
            if deadline.passed() {
                return Ok(false);
            }
            thread::sleep(ASK_INTERVAL.min(deadline.remaining()));
        }
    }

    fn error(&self, act: &'static str, source: io::Error) -> WriterError {
        WriterError::Io { act, path: self.folder.clone(), source }
    }
}

/// Whether an error says that the group is gone (removed under an open file: `ENODEV`).
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn read_events(events: &File) -> io::Result<String> {
    let mut bytes = [0; 256];
    let count = events.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

fn is_frozen(events: &str) -> bool {
    events.lines().any(|line| line == "frozen 1")
}

/// Whether the process is a guard: our own program with the verb `guard`.
fn is_guard(process: u32, own: &fs::Metadata) -> bool {
    let Ok(program) = fs::metadata(format!("/proc/{process}/exe")) else { return false };
    let mut arguments = Vec::new();
    let read =
        File::open(format!("/proc/{process}/cmdline")).and_then(|mut file| file.read_to_end(&mut arguments));
    (program.dev(), program.ino()) == (own.dev(), own.ino())
        && read.is_ok()
        && arguments.split(|&byte| byte == 0).nth(1) == Some(b"guard")
}

/// Where control group hierarchies with a freezer are mounted, version 2 first.
fn hierarchies() -> Result<Vec<PathBuf>, WriterError> {
    let path = Path::new("/proc/self/mounts");
    let mounts = fs::read_to_string(path).map_err(|source| WriterError::Io {
        act: "read",
        path: path.to_owned(),
        source,
    })?;
    let mut found: Vec<(u8, PathBuf)> = mounts
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, mount_point, kind, options, ..] = fields[..] else { return None };
            let rank = match kind {
                "cgroup2" => 0,
                "cgroup" if options.split(',').any(|option| option == "freezer") => 1,
                _ => return None,
            };
            Some((rank, PathBuf::from(mount_point)))
        })
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(_, mount_point)| mount_point).collect())
}
