//! Taking up what was read anew.

use log::{error, info, warn};

use super::reload::{What, for_a_restart};
use super::{Server, Who, start, tls, with_turn};
use crate::config::Config;
use crate::dispatch::CertificateChange;
use crate::driver::{FileRequest, ReadFile};
use crate::event_loop::Now;
use crate::logging;

impl Server {
    /// Has something read anew.
    pub(super) fn read_again(&mut self, now: Now, what: What) {
        if self.leaving.is_some() || !self.reload.ask(what) {
            return;
        }
        let files: Vec<ReadFile> = match what {
            What::Everything => self.reload.source().files(),
            What::Tls => match &self.config.tls {
                Some(files) => tls::requests(files),
                None => return,
            },
        };
        let request = FileRequest::Read { files };
        let ticket = self.files.submit(now.monotonic, &mut self.readiness, Who::Files, &request);
        self.reload.begun(what, ticket);
    }

    /// Something was read.
    pub(super) fn take_up(&mut self, now: Now, what: What, read: Result<Vec<Option<Vec<u8>>>, String>) {
        match what {
            What::Everything => match read.and_then(|read| self.reload.source().take_up(read)) {
                Ok(config) => self.take_up_config(now, config),
                Err(why) => error!("the configuration stays as it was: {why}"),
            },
            What::Tls => self.take_up_tls(now, read),
        }
        if let Some(what) = self.reload.take_again() {
            self.read_again(now, what);
        }
    }

    /// What can change changes; what cannot is named.
    fn take_up_config(&mut self, now: Now, new: Config) {
        for key in for_a_restart(&self.config, &new) {
            warn!("{key} has changed, which takes effect when vmwired starts again");
        }
        logging::set_level(&new.log);
        self.core.set_connections_max(new.connections_max);
        let audit = new.audit_kept_in(&self.config.state_dir);
        self.core.set_audit(now, audit.as_ref());
        self.config.audit = audit;
        if self.config.rules != new.rules {
            let access = start::access(&new);
            with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.set_access(turn, access));
        }
        // What a listener needs can change; whether there is one cannot.
        if let (Some(old), Some(files)) = (&self.config.tls, &new.tls) {
            if let Some(watch) = self.reload.watch()
                && old != files
                && !tls::paths(files).all(|path| watch.covers(path))
            {
                warn!("the files of TLS are in another directory now: their changes are noticed when SIGHUP comes");
            }
            self.config.tls = Some(files.clone());
        }
        self.config.log = new.log;
        self.config.rules = new.rules;
        self.config.connections_max = new.connections_max;
        info!("the configuration was read again");
        self.read_again(now, What::Tls);
    }

    fn take_up_tls(&mut self, now: Now, read: Result<Vec<Option<Vec<u8>>>, String>) {
        let (Some(tls), Some(files)) = (&mut self.tls, &self.config.tls) else { return };
        let outcome = read.map_err(tls::TlsError::File).and_then(|read| Ok((tls.made_anew(files, &read)?, read)));
        let (change, message) = match outcome {
            Ok((made, read)) => {
                tls.take_up(made, &read, now);
                self.core.set_authority(tls.take_authority(files));
                self.connections.judge_again(now, &tls.context);
                let message = format!("the certificate of {} is in force", tls.context.identity().subject);
                info!("{message}");
                (CertificateChange::TakenUp, message)
            }
            Err(why) => {
                let message = format!("certificates stay as they were: {why}");
                if matches!(why, tls::TlsError::File(_)) {
                    self.reload.failed(now.monotonic);
                    if self.reload.is_unasked() && tls.facts.first().is_some_and(|own| own.problem == message) {
                        return;
                    }
                }
                error!("{message}");
                // Those in force are not those on the disk.
                if let Some(own) = tls.facts.first_mut() {
                    own.problem.clone_from(&message);
                }
                (CertificateChange::Refused, message)
            }
        };
        self.core.set_certificates(tls.facts.clone());
        with_turn(&mut self.readiness, &mut self.files, now, |turn| {
            self.core.certificate_changed(turn, "server", change, &message);
        });
    }

    /// Goes on with judging connections by certificates that were taken up, and tells of those that expire.
    pub(super) fn judge_certificates(&mut self, now: Now) {
        let Some(tls) = &mut self.tls else { return };
        for (purpose, days, words) in tls.take_expiring(now) {
            warn!("{words}");
            let change = CertificateChange::Expires(days);
            with_turn(&mut self.readiness, &mut self.files, now, |turn| {
                self.core.certificate_changed(turn, purpose, change, &words);
            });
        }
        if self.connections.take_list_ended(now) {
            // Whose handshake has begun before is judged at its end.
            tls.generation += 1;
            self.connections.judge_again(now, &tls.context);
        }
        for (id, why) in self.connections.judge_some(now, &tls.context) {
            with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.deny(turn, id, &why));
        }
    }
}
