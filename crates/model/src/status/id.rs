//! The numbers of the status messages, by name. A test compares them with the table, both ways.

use super::MessageId;

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: MessageId = MessageId($number);)+

        /// All of them with their names, for documents and tests.
        pub const ALL: &[(&str, MessageId)] = &[$((stringify!($name), $name),)+];
    };
}

ids! {
    /// The backup task of site %1 began to work.
    TASK_STARTED = 500;
    /// The backup task of site %1 was told to stop.
    TASK_TOLD_TO_STOP = 501;
    /// The backup task of site %1 ended.
    TASK_ENDED = 502;
    /// The backup of site %1 was due but could not be started: %2.
    SCHEDULED_START_FAILED = 2416;
    /// The site file %1 cannot be read: %2. No backup was made.
    SITE_FILE_UNREADABLE = 5000;
    /// The command %1 brought application %2 to rest.
    APPLICATION_QUIET = 5001;
    /// The command %1 could not bring application %2 to rest: %3.
    APPLICATION_NOT_QUIET = 5002;
    /// The command %1 let application %2 go on.
    APPLICATION_GOES_ON = 5003;
    /// The command %1 could not let application %2 go on: %3.
    APPLICATION_DOES_NOT_GO_ON = 5004;
    /// Service %1 on %2 was brought to rest.
    SERVICE_STOPPED = 5005;
    /// Service %1 on %2 could not be brought to rest: %3.
    SERVICE_NOT_STOPPED = 5006;
    /// Service %1 on %2 works again.
    SERVICE_STARTED = 5007;
    /// Service %1 on %2 could not be started again: %3.
    SERVICE_NOT_STARTED = 5008;
    /// The file tree %1 was copied to %2.
    FILES_COPIED = 5009;
    /// %1 could not be copied to %2: %3. The rest was.
    FILE_NOT_COPIED = 5010;
    /// The %1 database %2 was backed up to %3.
    DATABASE_BACKED_UP = 5013;
    /// The %1 database %2 was not backed up: %3. The rest was.
    DATABASE_NOT_BACKED_UP = 5014;
    /// The command %1 ran; its exit status was %2.
    COMMAND_RAN = 5015;
    /// The command %1 could not be run: %2.
    COMMAND_DID_NOT_RUN = 5016;
    /// The destination cannot be used: %1. No backup was made.
    DESTINATION_INVALID = 5026;
    /// The site file %1 has mistakes on line(s) %2. No backup was made.
    SITE_FILE_WRONG = 5027;
    /// It cannot be told whether service %1 is installed; it will be left alone.
    SERVICE_NOT_FOUND = 5029;
    /// The %1 database %2 could not be backed up: %3. The run was given up.
    DATABASE_FAILED = 5033;
    /// Backup completed.
    BACKUP_COMPLETED = 5035;
    /// Service %1 on %2 was found at rest and is left at rest.
    SERVICE_ALREADY_STOPPED = 5036;
    /// Application %1 was found at rest and is left at rest.
    APPLICATION_ALREADY_QUIET = 5037;
    /// The backup was stopped by hand (%1) and made no set. The site works and the last good set is untouched.
    BACKUP_STOPPED_BY_HAND = 5038;
    /// The command %1 was not done within %2 and was ended.
    COMMAND_TIMED_OUT = 5039;
    /// The hook %1 was started.
    HOOK_STARTED = 5040;
    /// The hook %1 could not be started. The backup is whole.
    HOOK_NOT_STARTED = 5041;
    /// There is no hook at %1, so none was started.
    HOOK_NOT_FOUND = 5042;
    /// The file tree %1 could not be copied to %2: %3. The run was given up.
    FILES_FAILED = 5043;
    /// No epoch could be begun: %1. Nothing was frozen.
    EPOCH_NOT_BEGUN = 5044;
    /// The writer of component %1 cannot work here: %2. No backup was made.
    WRITER_NOT_AVAILABLE = 5045;
    /// Component %1 could not be described: %2. No backup was made.
    IDENTIFY_FAILED = 5046;
    /// The site could not be cut: %1. Everything was thawed and no set was made.
    SNAPSHOTS_FAILED = 5047;
    /// The set could not be written to %1: %2. The last good set is untouched.
    DESTINATION_FAILED = 5048;
    /// The backup of site %1 is starting (run %2).
    BACKUP_STARTED = 5055;
    /// Reading from the cut into the set begins; the site works.
    COPY_STARTED = 5056;
    /// Reading from the cut into the set is done.
    COPY_FINISHED = 5057;
    /// Reading from the cut into the set failed: %1. The last good set is untouched.
    COPY_FAILED = 5059;
    /// The backup failed: %1. The last good set is untouched.
    BACKUP_FAILED = 5060;
    /// Run %1 had died; what it left was healed: %2.
    RUN_RECONCILED = 5100;
    /// The guard had to let the site go on, because the run %1: %2.
    GUARD_THAWED = 5101;
    /// THE SITE COULD NOT BE PUT BACK TO WORK: %1.
    SITE_NOT_THAWED = 5102;
    /// The site stood still for %1 ms.
    FREEZE_WINDOW = 5103;
    /// Component %1 is in the set with grade %2: %3 files, %4 bytes.
    COMPONENT_CAPTURED = 5104;
    /// The set was verified and published at %1.
    SET_PUBLISHED = 5105;
    /// The set is below the site's minimum grade %1 (%2) and was not published. The last good set is untouched.
    SET_BELOW_GRADE = 5106;
    /// Component %1 is cut by %2: %3.
    PROVIDER_CHOSEN = 5107;
    /// Only %2 bytes are free at %1; %3 bytes are needed.
    FREE_SPACE_LOW = 5108;
    /// The destination: %1. Remedy: %2.
    DESTINATION_FINDING = 5109;
    /// The hook %1 ended with exit code 0 after %2 s.
    HOOK_SUCCEEDED = 5110;
    /// The hook %1 ended with %2. The backup is whole.
    HOOK_FAILED = 5111;
    /// The hook %1 was not done within %2 s, so it and all its processes were ended. The backup is whole.
    HOOK_TIMED_OUT = 5112;
    /// The hook %1 wrote: %2.
    HOOK_OUTPUT = 5113;
    /// Component %1 failed in step %2: %3.
    COMPONENT_FAILED = 5114;
    /// Component %1 was not done with step %2 within %3; the epoch was given up.
    DEADLINE_MISSED = 5115;
    /// The run was cancelled in phase %1. The site works and the last good set is untouched.
    RUN_CANCELLED = 5116;
    /// Another run holds the site: %1. Nothing was begun.
    SITE_BUSY = 5117;
    /// Every byte of the set at %1 was read and is as it was stored: %2 files, %3 bytes.
    VERIFY_COMPLETED = 5118;
    /// The set at %1 is damaged: %2.
    VERIFY_FOUND_DAMAGE = 5119;
    /// Recovery of site %1 from the set at %2 began.
    RECOVERY_STARTED = 5120;
    /// Recovery of site %1 is completed.
    RECOVERY_COMPLETED = 5121;
    /// Recovery of site %1 failed: %2.
    RECOVERY_FAILED = 5122;
    /// The probe `%1` succeeded.
    PROBE_SUCCEEDED = 5123;
    /// The probe `%1` did not succeed: %2.
    PROBE_FAILED = 5124;
    /// A problem that does not stop the run; component %1, path %2: %3.
    PROBLEM_RECORDED = 5125;
    /// The guard ended before its time: %1. The epoch was given up.
    GUARD_LOST = 5126;
    /// Left from an earlier run and removed: %1.
    LEFTOVERS_REMOVED = 5127;
    /// Left from an earlier run and not removable: %1: %2.
    LEFTOVERS_NOT_REMOVED = 5128;
    /// Backup completed, but with %1 problem(s): the set was published and is incomplete.
    BACKUP_INCOMPLETE = 5129;
    /// The new set did not pass its own verification: %1. It was not published; the last good set is untouched.
    SET_NOT_WHOLE = 5130;
    /// Component %1 has grade %2 at most, because %3.
    GRADE_LOWERED = 5131;
    /// The backup may not do what it must: %1. No backup was made.
    RIGHT_MISSING = 5132;
    /// The set is being saved in archive %1.
    ARCHIVE_SAVE_STARTED = 5150;
    /// The set is in archive %1 as version %2, epoch %3: %4 bytes were new and take %5 bytes.
    ARCHIVE_SAVED = 5151;
    /// The set could not be saved in archive %1: %2.
    ARCHIVE_NOT_SAVED = 5152;
    /// Archive %1: %2.
    ARCHIVE_NOTE = 5153;
    /// The rules of archive %1 let %2 version(s) go.
    ARCHIVE_RETIRED = 5154;
    /// Archive %1: the versions that its rules do not keep could not be let go: %2.
    ARCHIVE_NOT_RETIRED = 5155;
    /// Archive %1: version %2 of epoch %3 stays and counts for no rule: %4.
    ARCHIVE_CLOCK_DOUBT = 5156;
    /// Archive %1 had missed %2 version(s), which were copied from archive %3.
    ARCHIVE_CAUGHT_UP = 5157;
    /// What archive %1 had missed could not be copied from archive %2: %3.
    ARCHIVE_NOT_CAUGHT_UP = 5158;
    /// The service of site %1 began to work (version %2).
    SERVING_BEGAN = 5170;
    /// The service of site %1 ended.
    SERVING_ENDED = 5171;
    /// The task %1 was put in line, asked for by %2 (try %3).
    TASK_QUEUED = 5172;
    /// The task %1 was due %2 and could not begin; %3.
    SCHEDULE_MISSED = 5173;
    /// The site file has changed; what it says is in force.
    SITE_FILE_TAKEN_UP = 5174;
    /// The site file has changed and is not valid; what it said before stays in force: %1
    SITE_FILE_REFUSED = 5175;
    /// The clock of this machine was set by %1 seconds.
    CLOCK_JUMPED = 5176;
    /// The writer of component %1 could not prepare: %2.
    WRITER_NOT_READY = 6825;
    /// Component %1 belongs to the site but was left out of this run.
    COMPONENT_LEFT_OUT = 6828;
    /// The site is about to stand still.
    SERVICES_ABOUT_TO_STOP = 6829;
    /// All components were cut.
    SNAPSHOTS_CREATED = 6830;
    /// All components go on; the site works.
    SERVICES_STARTED_AGAIN = 6831;
    /// The backup task was given up: %1.
    TASK_ABORTED = 6832;
    /// The backup task is done; all writers were released.
    TASK_COMPLETED = 6833;
}
