-- vmwire.lua: the vmwire protocol in Wireshark and tshark 4.
--
-- Copy this file into the plugins folder that Help / About Wireshark / Folders names ("Personal Lua Plugins", as a rule
-- ~/.local/lib/wireshark/plugins), or name it: tshark -X lua_script:vmwire.lua -r FILE. README.md beside it has recipes.
--
--   1. The wire          what packets there are; generated from protocol/vmwire.x, the authority
--   2. Fields            a filter for every field of every message
--   3. Complaints        everything that can be wrong, as expert information
--   4. Bodies            one walker for all XDR, going by the table
--   5. Conversations     which answer belongs to which call, who may still send how much
--   6. Sentences         the info column
--   7. The tree          what a packet looks like when it is opened
--   8. Packets           cutting a stream into packets, and finding the way back when bytes were lost
--   9. Statistics        how often each procedure was called, and how long it took
--  10. Agents            what passes between the daemon and agents in guests: JSON, line by line
--  11. Registration      ports, TLS, heuristics, preferences
--
-- A capture is read more than once. On the first pass packets come in order, and what can be known by then is kept with
-- each of them (5.); later passes may come in any order and only read it. So what needs the future, that a call is never
-- answered, shows from the second pass on: always in Wireshark, in tshark with -2.
--
-- Trees are made only where somebody looks at them, and complaints are part of them. tshark -q -z expert alone does not
-- look: tshark -2 -q -z expert -Y vmwire does.
--
-- What a capture holds may be hostile. Nothing here trusts a length; problems of a body are raised by error() with a table
-- and caught in one place, so that what is left as a Lua error is a defect of this file.

-- ==== 1. The wire ====================================================================================================

-- ---- generated from protocol/vmwire.x: `VMWIRE_BLESS=1 cargo test -p vmwire-protocol dissector` ----
local WIRE = {
  major = 1,
  newest_minor = 2,
  payload_bytes_min = 12,
  client_bytes_max_before_hello = 65536,
  client_bytes_max = 262144,
  server_bytes_max = 4194304,
  stream_credit_initial = 65536,
  names = {
    capability = { [1] = "progress" },
    role = { [1] = "observer", [2] = "operator", [3] = "admin" },
    code = { [1] = "MALFORMED", [2] = "VERSION_MISMATCH", [3] = "UNKNOWN_PROCEDURE", [4] = "UNSUPPORTED", [5] = "SERIAL", [6] = "BAD_LENGTH", [7] = "BAD_MAGIC", [8] = "DEADLINE_EXCEEDED", [9] = "CANCELLED", [10] = "DENIED", [11] = "NOT_FOUND", [12] = "EXISTS", [13] = "BUSY", [14] = "INVALID", [15] = "OVERLOADED", [16] = "DRIVER", [17] = "AGENT", [18] = "INTERNAL", [19] = "ANSWER_TOO_LARGE", [20] = "GOING_AWAY" },
    state = { [1] = "stopped", [2] = "starting", [3] = "running", [4] = "paused", [5] = "crashed", [6] = "lost", [7] = "adopting" },
    reason = { [0] = "unknown", [1] = "requested", [2] = "guest", [3] = "failed", [4] = "hypervisor", [5] = "adopted" },
    operation_state = { [1] = "queued", [2] = "running", [3] = "done", [4] = "failed", [5] = "dropped" },
    shutdown_then = { [1] = "fail", [2] = "stop" },
    console_mode = { [1] = "read", [2] = "write", [3] = "take-over" },
    field = { [1] = "name", [2] = "uuid", [3] = "state", [4] = "reason", [5] = "since-ns", [6] = "title", [7] = "memory-bytes", [8] = "cpus", [9] = "machine", [10] = "accelerator", [11] = "pid", [12] = "autostart", [13] = "operation", [14] = "disks", [15] = "forwards", [16] = "channels", [17] = "labels" },
    comparison = { [1] = "equal", [2] = "not-equal", [3] = "matches", [4] = "at-least", [5] = "at-most" },
    event = { [1] = "daemon-started", [2] = "vm-defined", [3] = "vm-undefined", [4] = "vm-state", [5] = "vm-reset", [6] = "vm-monitor", [7] = "console-writer", [8] = "operation", [9] = "client-changed", [10] = "certificate" },
    client_state = { [1] = "invited", [2] = "enrolled", [3] = "added" },
    client_change = { [1] = "invited", [2] = "enrolled", [3] = "added", [4] = "role", [5] = "removed" },
    certificate_change = { [1] = "taken-up", [2] = "refused", [3] = "expires" },
    flag = { [1] = "message-end", [2] = "message-void" },
  },
  event_detail = {
    [1] = "event_daemon_started",
    [2] = "event_vm_defined",
    [4] = "event_vm_state",
    [5] = "event_vm_reset",
    [6] = "event_vm_monitor",
    [7] = "event_console_writer",
    [8] = "event_operation",
    [9] = "event_client_changed",
    [10] = "event_certificate",
  },
  bodies = {
    failure_detail = {
      { "key", "string", max = 64 },
      { "value", "string", max = 1024 },
    },
    failure = {
      { "code", "uint", names = "code" },
      { "message", "string", max = 1024 },
      { "object_kind", "string", max = 32 },
      { "object_name", "string", max = 256 },
      { "causes", "string", max = 1024, list = 16 },
      { "hint", "string", max = 1024 },
      { "retry_after_ms", "uint" },
      { "details", "failure_detail", list = 16 },
    },
    vm_ref = {
      { "uuid", "uuid" },
      { "name", "string", max = 64 },
    },
    cursor = {
      { "epoch", "fixed", size = 16 },
      { "sequence", "hyper" },
    },
    hello_call = {
      { "major", "uint" },
      { "minor", "uint" },
      { "capabilities", "uint", list = 64, names = "capability" },
      { "name", "string", max = 128 },
    },
    hello_answer = {
      { "major", "uint" },
      { "minor", "uint" },
      { "newest_minor", "uint" },
      { "capabilities", "uint", list = 64, names = "capability" },
      { "packet_bytes_max", "uint" },
      { "calls_in_flight_max", "uint" },
      { "epoch", "fixed", size = 16 },
      { "server", "string", max = 128 },
      { "identity", "string", max = 256 },
      { "role", "uint", names = "role" },
    },
    cancel_call = {
      { "serial", "uint" },
    },
    cancel_answer = {
      { "found", "bool" },
    },
    subscribe_call = {
      { "after", "cursor", optional = true },
      { "vm", "string", max = 128 },
      { "kinds", "uint", list = 64, names = "event" },
    },
    subscribe_answer = {
      { "first", "cursor" },
    },
    progress = {
      { "done", "hyper" },
      { "total", "hyper" },
      { "what", "string", max = 256 },
    },
    event = {
      { "epoch", "fixed", size = 16 },
      { "sequence", "hyper" },
      { "time_ns", "hyper" },
      { "operation", "hyper" },
      { "vm", "vm_ref", optional = true },
      { "kind", "uint", names = "event" },
      { "detail", "opaque", max = 16384 },
    },
    gap = {
      { "epoch", "fixed", size = 16 },
      { "first", "hyper" },
      { "last", "hyper" },
    },
    event_daemon_started = {
      { "release", "string", max = 64 },
    },
    event_vm_defined = {
      { "replaced", "bool" },
    },
    event_vm_state = {
      { "state", "uint", names = "state" },
      { "previous", "uint", names = "state" },
      { "reason", "uint", names = "reason" },
      { "message", "string", max = 1024 },
    },
    event_vm_reset = {
      { "by_guest", "bool" },
    },
    event_vm_monitor = {
      { "connected", "bool" },
      { "why", "string", max = 1024 },
    },
    event_console_writer = {
      { "identity", "string", max = 256 },
    },
    event_operation = {
      { "procedure", "uint", names = "procedure" },
      { "state", "uint", names = "operation_state" },
      { "identity", "string", max = 256 },
      { "failure", "failure", optional = true },
    },
    event_client_changed = {
      { "name", "string", max = 64 },
      { "role", "uint", names = "role" },
      { "change", "uint", names = "client_change" },
    },
    event_certificate = {
      { "purpose", "string", max = 64 },
      { "change", "uint", names = "certificate_change" },
      { "days", "uint" },
      { "message", "string", max = 1024 },
    },
    stream_data = {
      { "stream", "uint" },
      { "flags", "uint", names = "flag" },
      { "offset", "hyper" },
      { "data", "opaque", max = 32768 },
    },
    stream_credit = {
      { "stream", "uint" },
      { "bytes", "uint" },
    },
    stream_end = {
      { "stream", "uint" },
      { "why", "failure", optional = true },
    },
    host_info_answer = {
      { "hostname", "string", max = 256 },
      { "kernel", "string", max = 128 },
      { "architecture", "string", max = 64 },
      { "cpus", "uint" },
      { "memory_bytes", "hyper" },
      { "driver", "string", max = 64 },
      { "hypervisor", "string", max = 128 },
      { "vms_defined", "uint" },
      { "vms_running", "uint" },
    },
    accelerator = {
      { "name", "string", max = 64 },
      { "usable", "bool" },
      { "why_not", "string", max = 1024 },
    },
    host_capabilities_answer = {
      { "hypervisor", "string", max = 128 },
      { "machines", "string", max = 64, list = 256 },
      { "cpu_models", "string", max = 64, list = 512 },
      { "accelerators", "accelerator", list = 8 },
    },
    daemon_info_answer = {
      { "release", "string", max = 64 },
      { "pid", "uint" },
      { "started_ns", "hyper" },
      { "driver", "string", max = 64 },
      { "state_dir", "string", max = 1024 },
      { "runtime_dir", "string", max = 1024 },
      { "sockets", "string", max = 1024, list = 16 },
      { "connections", "uint" },
      { "connections_max", "uint" },
      { "calls", "hyper" },
      { "events", "cursor" },
      { "log_lines_lost", "hyper" },
    },
    certificate_info = {
      { "purpose", "string", max = 64 },
      { "subject", "string", max = 1024 },
      { "not_before_s", "hyper" },
      { "not_after_s", "hyper" },
      { "fingerprint", "fixed", size = 32 },
      { "problem", "string", max = 1024 },
    },
    host_certificates_answer = {
      { "rows", "certificate_info", list = 64 },
    },
    list_call = {
      { "after", "string", max = 128 },
      { "rows_max", "uint" },
    },
    connection_info = {
      { "id", "hyper" },
      { "transport", "string", max = 64 },
      { "identity", "string", max = 256 },
      { "role", "uint", names = "role" },
      { "name", "string", max = 128 },
      { "minor", "uint" },
      { "since_ns", "hyper" },
      { "calls", "hyper" },
      { "calls_open", "uint" },
      { "streams", "uint" },
      { "subscribed", "bool" },
      { "unsent_bytes", "uint" },
      { "own", "bool" },
    },
    connection_list_answer = {
      { "rows", "connection_info", list = 4096 },
      { "next", "string", max = 128 },
    },
    connection_kick_call = {
      { "id", "hyper" },
    },
    operation_info = {
      { "id", "hyper" },
      { "procedure", "uint", names = "procedure" },
      { "vm", "vm_ref", optional = true },
      { "identity", "string", max = 256 },
      { "state", "uint", names = "operation_state" },
      { "queued_ns", "hyper" },
      { "begun_ns", "hyper" },
      { "ended_ns", "hyper" },
      { "failure", "failure", optional = true },
    },
    operation_list_call = {
      { "vm", "string", max = 128 },
      { "after", "string", max = 128 },
      { "rows_max", "uint" },
    },
    operation_list_answer = {
      { "rows", "operation_info", list = 4096 },
      { "next", "string", max = 128 },
    },
    operation_call = {
      { "id", "hyper" },
    },
    client_info = {
      { "name", "string", max = 64 },
      { "role", "uint", names = "role" },
      { "state", "uint", names = "client_state" },
      { "key", "fixed", size = 32 },
      { "serial", "string", max = 64 },
      { "not_after_s", "hyper" },
      { "since_ns", "hyper" },
      { "expires_ns", "hyper" },
    },
    client_list_answer = {
      { "rows", "client_info", list = 4096 },
      { "next", "string", max = 128 },
    },
    client_invite_call = {
      { "name", "string", max = 64 },
      { "role", "uint", names = "role" },
      { "address", "string", max = 256 },
    },
    client_invite_answer = {
      { "token", "string", max = 512, secret = true },
      { "expires_ns", "hyper" },
      { "address", "string", max = 256 },
    },
    client_add_call = {
      { "name", "string", max = 64 },
      { "role", "uint", names = "role" },
      { "key", "fixed", size = 32 },
    },
    client_set_role_call = {
      { "name", "string", max = 64 },
      { "role", "uint", names = "role" },
    },
    client_call = {
      { "name", "string", max = 64 },
    },
    enroll_call = {
      { "secret", "fixed", size = 16, secret = true },
      { "name", "string", max = 64 },
      { "request", "opaque", max = 4096 },
    },
    enroll_answer = {
      { "name", "string", max = 64 },
      { "role", "uint", names = "role" },
      { "chain", "opaque", max = 16384, list = 8 },
      { "ca", "opaque", max = 16384 },
    },
    vm_names_answer = {
      { "cursor", "cursor" },
      { "names", "string", max = 64, list = 4096 },
      { "next", "string", max = 128 },
    },
    vm_call = {
      { "vm", "string", max = 128 },
    },
    vm_disk = {
      { "path", "string", max = 1024 },
      { "format", "string", max = 64 },
      { "bus", "string", max = 64 },
      { "readonly", "bool" },
    },
    vm_nic = {
      { "outbound", "bool" },
      { "forwards", "string", max = 64, list = 32 },
    },
    vm_info = {
      { "uuid", "uuid" },
      { "name", "string", max = 64 },
      { "title", "string", max = 256 },
      { "state", "uint", names = "state" },
      { "reason", "uint", names = "reason" },
      { "since_ns", "hyper" },
      { "message", "string", max = 1024 },
      { "autostart", "bool" },
      { "memory_bytes", "hyper" },
      { "cpus", "uint" },
      { "machine", "string", max = 64 },
      { "accelerator", "string", max = 64 },
      { "pid", "uint" },
      { "monitor", "bool" },
      { "operation", "hyper" },
      { "operations_waiting", "uint" },
      { "console_writer", "string", max = 256 },
      { "console_readers", "uint" },
      { "console_offset", "hyper" },
      { "disks", "vm_disk", list = 16 },
      { "nics", "vm_nic", list = 8 },
      { "channels", "string", max = 64, list = 16 },
    },
    vm_show_answer = {
      { "cursor", "cursor" },
      { "vm", "vm_info" },
    },
    vm_definition_answer = {
      { "definition", "string", max = 49152 },
    },
    vm_define_call = {
      { "definition", "string", max = 49152 },
      { "replace", "bool" },
    },
    vm_define_answer = {
      { "operation", "hyper" },
      { "vm", "vm_ref" },
    },
    vm_start_call = {
      { "vm", "string", max = 128 },
      { "paused", "bool" },
    },
    vm_shutdown_call = {
      { "vm", "string", max = 128 },
      { "grace_ms", "uint" },
      { "then", "uint", names = "shutdown_then" },
    },
    vm_done_answer = {
      { "operation", "hyper" },
      { "state", "uint", names = "state" },
    },
    vm_wait_call = {
      { "vm", "string", max = 128 },
      { "states", "uint", list = 16, names = "state" },
    },
    vm_wait_answer = {
      { "cursor", "cursor" },
      { "vm", "vm_ref" },
      { "state", "uint", names = "state" },
    },
    vm_cell = { union = {
      [0] = false,
      [1] = { "number", "hyper" },
      [2] = { "text", "string", max = 1024 },
      [3] = { "items", "string", max = 1024, list = 64 },
    }     },
    vm_filter = {
      { "field", "uint", names = "field" },
      { "comparison", "uint", names = "comparison" },
      { "value", "vm_cell" },
    },
    vm_list_call = {
      { "fields", "uint", list = 32, names = "field" },
      { "filters", "vm_filter", list = 8 },
      { "after", "string", max = 128 },
      { "rows_max", "uint" },
    },
    vm_row = {
      { "cells", "vm_cell", list = 32 },
    },
    vm_list_answer = {
      { "cursor", "cursor" },
      { "rows", "vm_row", list = 4096 },
      { "next", "string", max = 128 },
    },
    console_open_call = {
      { "vm", "string", max = 128 },
      { "mode", "uint", names = "console_mode" },
      { "history_bytes", "uint" },
    },
    console_open_answer = {
      { "stream", "uint" },
      { "offset", "hyper" },
      { "writer", "string", max = 256 },
    },
    capture_open_call = {
      { "vm", "string", max = 128 },
      { "payload", "bool" },
      { "agents", "bool" },
    },
    capture_open_answer = {
      { "stream", "uint" },
    },
    capture_record = {
      { "time_ns", "hyper" },
      { "connection", "hyper" },
      { "sent", "bool" },
      { "peer", "string", max = 256 },
      { "transport", "string", max = 64 },
      { "position", "hyper" },
      { "bytes", "opaque", max = 16384 },
    },
  },
  client = {
    [0x0001] = { name = "HELLO", body = "hello_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0002] = { name = "PING", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0003] = { name = "CANCEL", body = "cancel_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0004] = { name = "SUBSCRIBE", body = "subscribe_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0005] = { name = "UNSUBSCRIBE", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0010] = { name = "HOST_INFO", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0011] = { name = "HOST_CAPABILITIES", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0012] = { name = "DAEMON_INFO", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0013] = { name = "HOST_CERTIFICATES", minor = 2, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0020] = { name = "CONNECTION_LIST", body = "list_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0021] = { name = "CONNECTION_KICK", body = "connection_kick_call", minor = 0, role = "admin", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0030] = { name = "OPERATION_LIST", body = "operation_list_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0031] = { name = "OPERATION_SHOW", body = "operation_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0032] = { name = "OPERATION_WAIT", body = "operation_call", minor = 0, role = "observer", deadline_ms = 86400000, deadline_ms_max = 86400000 },
    [0x0040] = { name = "CLIENT_LIST", body = "list_call", minor = 2, role = "admin", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0041] = { name = "CLIENT_INVITE", body = "client_invite_call", minor = 2, role = "admin", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0042] = { name = "CLIENT_ADD", body = "client_add_call", minor = 2, role = "admin", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0043] = { name = "CLIENT_SET_ROLE", body = "client_set_role_call", minor = 2, role = "admin", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0044] = { name = "CLIENT_REMOVE", body = "client_call", minor = 2, role = "admin", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0045] = { name = "ENROLL", body = "enroll_call", minor = 2, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0050] = { name = "CAPTURE_OPEN", body = "capture_open_call", minor = 2, role = "admin", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0100] = { name = "VM_NAMES", body = "list_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0101] = { name = "VM_SHOW", body = "vm_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0102] = { name = "VM_DEFINITION", body = "vm_call", minor = 0, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0103] = { name = "VM_DEFINE", body = "vm_define_call", minor = 0, role = "admin", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0104] = { name = "VM_UNDEFINE", body = "vm_call", minor = 0, role = "admin", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0105] = { name = "VM_LIST", body = "vm_list_call", minor = 1, role = "observer", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0110] = { name = "VM_START", body = "vm_start_call", minor = 0, role = "operator", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0111] = { name = "VM_SHUTDOWN", body = "vm_shutdown_call", minor = 0, role = "operator", deadline_ms = 600000, deadline_ms_max = 600000 },
    [0x0112] = { name = "VM_STOP", body = "vm_call", minor = 0, role = "operator", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0113] = { name = "VM_REBOOT", body = "vm_call", minor = 0, role = "operator", deadline_ms = 600000, deadline_ms_max = 600000 },
    [0x0114] = { name = "VM_RESET", body = "vm_call", minor = 0, role = "operator", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0115] = { name = "VM_PAUSE", body = "vm_call", minor = 0, role = "operator", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0116] = { name = "VM_RESUME", body = "vm_call", minor = 0, role = "operator", deadline_ms = 60000, deadline_ms_max = 600000 },
    [0x0117] = { name = "VM_WAIT", body = "vm_wait_call", minor = 0, role = "observer", deadline_ms = 86400000, deadline_ms_max = 86400000 },
    [0x0120] = { name = "CONSOLE_OPEN", body = "console_open_call", minor = 0, role = "operator", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x0130] = { name = "AGENT_PING", body = "vm_call", minor = 2, role = "operator", deadline_ms = 10000, deadline_ms_max = 600000 },
    [0x1010] = { name = "STREAM_DATA", body = "stream_data", minor = 0 },
    [0x1011] = { name = "STREAM_CREDIT", body = "stream_credit", minor = 0 },
    [0x1012] = { name = "STREAM_END", body = "stream_end", minor = 0 },
  },
  server = {
    [0x0000] = { name = "FAILURE", body = "failure", minor = 0 },
    [0x0001] = { name = "HELLO", body = "hello_answer", minor = 0 },
    [0x0002] = { name = "PING", minor = 0 },
    [0x0003] = { name = "CANCEL", body = "cancel_answer", minor = 0 },
    [0x0004] = { name = "SUBSCRIBE", body = "subscribe_answer", minor = 0 },
    [0x0005] = { name = "UNSUBSCRIBE", minor = 0 },
    [0x0010] = { name = "HOST_INFO", body = "host_info_answer", minor = 0 },
    [0x0011] = { name = "HOST_CAPABILITIES", body = "host_capabilities_answer", minor = 0 },
    [0x0012] = { name = "DAEMON_INFO", body = "daemon_info_answer", minor = 0 },
    [0x0013] = { name = "HOST_CERTIFICATES", body = "host_certificates_answer", minor = 2 },
    [0x0020] = { name = "CONNECTION_LIST", body = "connection_list_answer", minor = 0 },
    [0x0021] = { name = "CONNECTION_KICK", minor = 0 },
    [0x0030] = { name = "OPERATION_LIST", body = "operation_list_answer", minor = 0 },
    [0x0031] = { name = "OPERATION_SHOW", body = "operation_info", minor = 0 },
    [0x0032] = { name = "OPERATION_WAIT", body = "operation_info", minor = 0 },
    [0x0040] = { name = "CLIENT_LIST", body = "client_list_answer", minor = 2 },
    [0x0041] = { name = "CLIENT_INVITE", body = "client_invite_answer", minor = 2 },
    [0x0042] = { name = "CLIENT_ADD", body = "client_info", minor = 2 },
    [0x0043] = { name = "CLIENT_SET_ROLE", body = "client_info", minor = 2 },
    [0x0044] = { name = "CLIENT_REMOVE", minor = 2 },
    [0x0045] = { name = "ENROLL", body = "enroll_answer", minor = 2 },
    [0x0050] = { name = "CAPTURE_OPEN", body = "capture_open_answer", minor = 2 },
    [0x0100] = { name = "VM_NAMES", body = "vm_names_answer", minor = 0 },
    [0x0101] = { name = "VM_SHOW", body = "vm_show_answer", minor = 0 },
    [0x0102] = { name = "VM_DEFINITION", body = "vm_definition_answer", minor = 0 },
    [0x0103] = { name = "VM_DEFINE", body = "vm_define_answer", minor = 0 },
    [0x0104] = { name = "VM_UNDEFINE", body = "vm_done_answer", minor = 0 },
    [0x0105] = { name = "VM_LIST", body = "vm_list_answer", minor = 1 },
    [0x0110] = { name = "VM_START", body = "vm_done_answer", minor = 0 },
    [0x0111] = { name = "VM_SHUTDOWN", body = "vm_done_answer", minor = 0 },
    [0x0112] = { name = "VM_STOP", body = "vm_done_answer", minor = 0 },
    [0x0113] = { name = "VM_REBOOT", body = "vm_done_answer", minor = 0 },
    [0x0114] = { name = "VM_RESET", body = "vm_done_answer", minor = 0 },
    [0x0115] = { name = "VM_PAUSE", body = "vm_done_answer", minor = 0 },
    [0x0116] = { name = "VM_RESUME", body = "vm_done_answer", minor = 0 },
    [0x0117] = { name = "VM_WAIT", body = "vm_wait_answer", minor = 0 },
    [0x0120] = { name = "CONSOLE_OPEN", body = "console_open_answer", minor = 0 },
    [0x0130] = { name = "AGENT_PING", minor = 2 },
    [0x1000] = { name = "PROGRESS", body = "progress", minor = 0 },
    [0x1001] = { name = "EVENT", body = "event", minor = 0 },
    [0x1002] = { name = "GAP", body = "gap", minor = 0 },
    [0x1010] = { name = "STREAM_DATA", body = "stream_data", minor = 0 },
    [0x1011] = { name = "STREAM_CREDIT", body = "stream_credit", minor = 0 },
    [0x1012] = { name = "STREAM_END", body = "stream_end", minor = 0 },
  },
}
-- ---- end of what is generated ----

-- A value of more than 32 bits is kept as a double: exact up to 2^53, in Lua 5.2 as in 5.4. The tree shows the true one.
local WORD = 4294967296.0
local MAGIC = "\137VMW"
local HEADER_BYTES = 8
-- From here on, types are never answered.
local UNANSWERED = 0x1000
-- Wireshark gives up on a frame with a million items; a list that is longer is shown in part.
local ITEMS_MAX = 100000

local byte, find, format, match, sub = string.byte, string.find, string.format, string.match, string.sub
-- Lua 5.4 has its own, and what they take apart stays integers; for 5.2 Wireshark has them, with formats that mean the same.
local pack, unpack = string.pack or Struct.pack, string.unpack or Struct.unpack

local function count(number, what)
  return format(number == 1 and "%.0f %s" or "%.0f %ss", number, what)
end

local function duration(seconds)
  if seconds < 1 then return format("%.3g ms", seconds * 1000) end
  return format("%.3g s", seconds)
end

local function quoted(text)
  return '"' .. text .. '"'
end

local function name_in(set, number)
  return WIRE.names[set][number] or "number " .. number
end

local function words(set, numbers)
  local all = {}
  for i, number in ipairs(numbers) do all[i] = name_in(set, number) end
  return table.concat(all, ", ")
end

-- ==== 2. Fields ======================================================================================================

local vmwire = Proto("vmwire", "vmwire, managing virtual machines")
local fields, registered = {}, {}

-- Makes `vmwire.NAME`. `kind` is one of ProtoField's constructors, what follows are its arguments.
local function field(name, kind, label, ...)
  local made = ProtoField[kind]("vmwire." .. name, label, ...)
  fields[name] = made
  registered[#registered + 1] = made
  return made
end

local TYPES = {}
for _, side in ipairs({ "client", "server" }) do
  for number, packet in pairs(WIRE[side]) do TYPES[number] = packet.name end
end
WIRE.names.procedure = TYPES
-- Flags are bits, and the definition names only those that are set.
WIRE.names.flag[0] = "none"

field("magic", "bytes", "Magic")
field("length", "uint32", "Length of the payload")
field("serial", "uint32", "Serial")
field("deadline_ms", "uint32", "Deadline in ms")
field("reply_to", "uint32", "Reply to")
field("type", "uint32", "Type", base.HEX, TYPES)
field("from", "string", "From")
field("client.type", "uint32", "Type of a client's packet", base.HEX, TYPES)
field("server.type", "uint32", "Type of a server's packet", base.HEX, TYPES)
field("body", "bytes", "Body")
field("lost", "bytes", "Bytes that are no packet")

field("request_in", "framenum", "The call is in frame", base.NONE, frametype.REQUEST)
field("response_in", "framenum", "The answer is in frame", base.NONE, frametype.RESPONSE)
field("cancelled_in", "framenum", "Cancelled in frame")
field("cancels", "framenum", "Cancels the call in frame")
field("time", "relative_time", "Time since the call")
field("version", "string", "Version in force")
field("unanswered", "bool", "Not answered in this capture")
field("duplicate", "bool", "Second answer to a call")
field("late", "bool", "After the deadline")
field("cancelled", "bool", "Cancelled")
field("stream.opened_in", "framenum", "The stream was opened in frame")
field("stream.text", "string", "As text")
field("stream.credit", "uint32", "Credit left to the sender, bytes")
field("operation.call_in", "framenum", "The operation was asked for in frame")

-- One name for what many messages have under their own.
field("vm.name", "string", "VM")
field("vm.uuid", "guid", "VM's uuid")
field("operation", "uint64", "Operation")
field("stream.number", "uint32", "Stream")
field("stream.offset", "uint64", "Offset")
local ALIASES = {
  ["vm_ref.name"] = "vm.name", ["vm_ref.uuid"] = "vm.uuid", ["vm_info.name"] = "vm.name", ["vm_info.uuid"] = "vm.uuid",
  ["event.operation"] = "operation", ["vm_done_answer.operation"] = "operation",
  ["vm_define_answer.operation"] = "operation", ["operation_call.id"] = "operation", ["operation_info.id"] = "operation",
  ["vm_info.operation"] = "operation",
  ["stream_data.stream"] = "stream.number", ["stream_credit.stream"] = "stream.number",
  ["stream_end.stream"] = "stream.number", ["console_open_answer.stream"] = "stream.number",
  ["capture_open_answer.stream"] = "stream.number",
  ["stream_data.offset"] = "stream.offset", ["console_open_answer.offset"] = "stream.offset",
}

-- ==== 3. Complaints ==================================================================================================

local complaints = {}
local experts = {}

local function complaint(name, text, group, severity)
  complaints[name] = ProtoExpert.new("vmwire.expert." .. name, text, expert.group[group], expert.severity[severity])
  experts[#experts + 1] = complaints[name]
end

complaint("bad_magic", "These bytes are no packet", "MALFORMED", "ERROR")
complaint("bad_length", "A payload may not be this long", "MALFORMED", "ERROR")
complaint("cut", "The packet is not whole in this capture", "REASSEMBLE", "WARN")
complaint("malformed", "The body cannot be decoded", "MALFORMED", "ERROR")
complaint("trailing", "Bytes behind the body", "MALFORMED", "ERROR")
complaint("serial", "Another serial was due", "SEQUENCE", "ERROR")
complaint("unknown_type", "Unknown type", "UNDECODED", "WARN")
complaint("unasked", "An answer to what was not asked", "SEQUENCE", "WARN")
complaint("duplicate", "A second answer", "SEQUENCE", "ERROR")
complaint("mismatch", "The answer is that of another procedure", "SEQUENCE", "ERROR")
complaint("unanswered", "No answer in this capture", "SEQUENCE", "WARN")
complaint("deadline", "The deadline passed", "RESPONSE_CODE", "WARN")
complaint("cancelled", "The call was cancelled", "RESPONSE_CODE", "NOTE")
complaint("denied", "Refused by role", "RESPONSE_CODE", "WARN")
complaint("unsupported", "Not in the version in force", "RESPONSE_CODE", "WARN")
complaint("version", "No common version", "RESPONSE_CODE", "WARN")
complaint("failure", "The call failed", "RESPONSE_CODE", "NOTE")
complaint("closed", "The daemon's last packet", "RESPONSE_CODE", "WARN")
complaint("gap", "Events are lost", "SEQUENCE", "WARN")
complaint("sequence", "Events were not shown", "SEQUENCE", "NOTE")
complaint("credit", "A stream beyond its credit", "PROTOCOL", "ERROR")
complaint("spent", "The credit of a stream is spent", "PROTOCOL", "NOTE")
complaint("jump", "A stream does not go on where it was", "SEQUENCE", "WARN")
complaint("stream_failed", "A stream ended by a failure", "RESPONSE_CODE", "NOTE")
complaint("shortened", "Too much to show", "UNDECODED", "NOTE")

-- ==== 4. Bodies ======================================================================================================

-- What is being read. The bytes are a Lua string, for a TvbRange for each word would take most of the time; ranges are
-- made for the tree alone. There is one reader at a time, so these stand here and not in a table.
local raw = ""    -- all that came together, packet after packet
local at = 1      -- the next byte to be read
local stop = 0    -- the last byte of the packet
local packet_tvb  -- where `raw` is from
local items = 0   -- shown in this frame

local function refuse(what)
  error({ refused = what }, 0)
end

local function claim(count)
  if count > stop - at + 1 then refuse("it ends " .. count - (stop - at + 1) .. " bytes early") end
  local from = at
  at = at + count
  return from
end

local function take_uint()
  local from = at
  if from + 3 > stop then claim(4) end
  at = from + 4
  return (unpack(">I4", raw, from))
end

-- Bytes of a length that was compared with its bound, and the zeros behind them.
local function take_bytes(count)
  local from, padding = at, -count % 4
  local behind = from + count
  if behind + padding - 1 > stop then
    claim(count)
    claim(padding)
  end
  at = behind + padding
  if padding > 0 and sub(raw, behind, at - 1) ~= sub("\0\0\0", 1, padding) then refuse("its padding is not zero") end
  return sub(raw, from, behind - 1), from
end

local function take_length(bound, what)
  local length = take_uint()
  if length > bound then refuse(what .. " has " .. length .. " where " .. bound .. " is the bound") end
  return length
end

-- Whether bytes are UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing beyond U+10FFFF.
local function is_utf8(text)
  local i, length = 1, #text
  while i <= length do
    local first, second = byte(text, i, i + 1)
    local more
    if first < 0x80 then more = 0
    elseif first >= 0xc2 and first <= 0xdf then more = 1
    elseif first >= 0xe0 and first <= 0xef then more = 2
    elseif first >= 0xf0 and first <= 0xf4 then more = 3
    else return false end
    if more > 0 and second == nil then return false end
    if first == 0xe0 and second < 0xa0 or first == 0xed and second > 0x9f then return false end
    if first == 0xf0 and second < 0x90 or first == 0xf4 and second > 0x8f then return false end
    for j = i + 1, i + more do
      local next_byte = byte(text, j)
      if next_byte == nil or next_byte < 0x80 or next_byte > 0xbf then return false end
    end
    i = i + more + 1
  end
  return true
end

-- The bytes of `raw` from `from`, as the tree wants them.
local function range(from, count)
  return packet_tvb(from - 1, count)
end

-- Adds an item, unless this frame has too many.
local function show(tree, row, from, count)
  items = items + 1
  if items > ITEMS_MAX then return nil end
  local item
  if row.text then
    item = tree:add_packet_field(row.field, range(from, count), ENC_UTF_8 + ENC_STRING)
  else
    item = tree:add(row.field, range(from, count))
  end
  if row.alias then
    local alias = row.text and tree:add_packet_field(row.alias, range(from, count), ENC_UTF_8 + ENC_STRING)
      or tree:add(row.alias, range(from, count))
    alias:set_hidden()
  end
  return item
end

-- Nanoseconds of today are more than a Lua number holds exactly, so they are divided as the 64 bits that they are.
local function utc(high, low)
  local ns = UInt64.new(low, high)
  local seconds, rest = (ns / 1000000000):tonumber(), (ns % 1000000000):tonumber()
  return os.date("!%Y-%m-%d %H:%M:%S", seconds) .. format(".%09d UTC", rest)
end

-- A reader for each kind: takes the value off the bytes, answers it, and shows it where there is a tree.
local readers = {}

function readers.uint(row, tree)
  local value = take_uint()
  if tree then show(tree, row, at - 4, 4) end
  return value
end

function readers.hyper(row, tree)
  local from = claim(8)
  local high, low = unpack(">I4I4", raw, from)
  local value = high * WORD + low
  local item = tree and show(tree, row, from, 8)
  if item and row.moment and value > 0 then item:append_text(" (" .. utc(high, low) .. ")") end
  return value
end

function readers.bool(row, tree)
  local value = take_uint()
  if value > 1 then refuse(row.name .. " is " .. value .. ", which is no boolean") end
  if tree then show(tree, row, at - 4, 4) end
  return value == 1
end

-- What is marked as secret is not told; where it lies can be seen, for who has the capture has it.
local function withhold(tree, row, from, count)
  items = items + 1
  if items <= ITEMS_MAX then tree:add(row.field, range(from, count), "[secret]") end
end

function readers.string(row, tree)
  local length = take_length(row.max, row.name)
  local text, from = take_bytes(length)
  -- Nearly all text is ASCII, and then one search is enough.
  if find(text, "[\0\128-\255]") then
    if find(text, "\0", 1, true) then refuse(row.name .. " holds U+0000") end
    if not is_utf8(text) then refuse(row.name .. " is no UTF-8") end
  end
  if tree then (row.secret and withhold or show)(tree, row, from, length) end
  return row.secret and "[secret]" or text
end

function readers.opaque(row, tree)
  local length = take_length(row.max, row.name)
  local _, from = take_bytes(length)
  if tree then (row.secret and withhold or show)(tree, row, from, length) end
  return length
end

function readers.fixed(row, tree)
  local value, from = take_bytes(row.size)
  if tree then (row.secret and withhold or show)(tree, row, from, row.size) end
  return row.secret and "[secret]" or value
end

function readers.uuid(row, tree)
  local value, from = take_bytes(16)
  if tree then show(tree, row, from, 16) end
  return value
end

-- Reads a body into `values`, or into a table made for it.
local function read_body(rows, tree, values)
  if rows.union then
    local number = take_uint()
    local arm = rows.union[number]
    if arm == nil then refuse(number .. " is no arm of " .. rows.name) end
    if tree then show(tree, rows.discriminant, at - 4, 4) end
    return arm and arm.read(arm, tree) or nil
  end
  values = values or rows.new_values()
  for i = 1, #rows do
    local row = rows[i]
    values[row.name] = row.read(row, tree)
  end
  return values
end

-- A body within a body stands in a subtree of its own, with its number where it is one of many.
local function read_nested(row, tree, number)
  if not tree then return read_body(row.body) end
  local from = at
  local branch = show(tree, row, from, 0)
  local values = read_body(row.body, branch)
  if branch then
    branch:set_len(at - from)
    if number then branch:append_text(" " .. number) end
    local title = type(values) == "table" and (values.name or values.key) or values
    if type(title) == "string" or type(title) == "number" then branch:append_text(": " .. title) end
  end
  return values
end

local function read_optional(row, tree)
  local flag = take_uint()
  if flag > 1 then refuse("the flag of " .. row.name .. " is " .. flag) end
  if flag == 1 then return row.read_one(row, tree) end
end

local function read_list(row, tree)
  local count = take_length(row.list, row.name)
  local values = {}
  for number = 1, count do values[number] = row.read_one(row, tree, number) or false end
  return values
end

local function label(name)
  return (name:gsub("_", " "))
end

-- A row of the table becomes what the walker wants: its field, and functions in place of words.
local function prepare(body, row)
  local name, kind = row[1], row[2]
  local full = body .. "." .. name
  local names = row.names and WIRE.names[row.names]
  row.name, row.moment = name, name:find("_ns$") ~= nil
  row.alias = fields[ALIASES[full] or (name == "vm" and kind == "string" and "vm.name")]
  if row.secret then row.field = field(full, "string", label(name))
  elseif kind == "uint" then
    local shown_as = row.names == "procedure" and base.HEX or base.DEC
    row.field = names and field(full, "uint32", label(name), shown_as, names) or field(full, "uint32", label(name))
  elseif kind == "hyper" then row.field = field(full, "uint64", label(name))
  elseif kind == "bool" then row.field = field(full, "bool", label(name))
  elseif kind == "string" then row.field, row.text = field(full, "string", label(name)), true
  elseif kind == "opaque" or kind == "fixed" then row.field = field(full, "bytes", label(name))
  elseif kind == "uuid" then row.field = field(full, "guid", label(name))
  else row.field, row.body = field(full, "none", label(name)), WIRE.bodies[kind] end
  row.read_one = readers[kind] or read_nested
  row.read = row.list and read_list or row.optional and read_optional or row.read_one
  return row
end

-- A constructor of tables with room for a value for each row: a table that has to grow for each takes twice the time.
local function constructor(rows)
  local keys = {}
  for i, row in ipairs(rows) do keys[i] = format("[%q] = nil", row[1]) end
  return load("return { " .. table.concat(keys, ", ") .. " }")
end

for name, rows in pairs(WIRE.bodies) do
  rows.name, rows.new_values = name, constructor(rows)
  -- Of the packet that is being dissected; nobody keeps them, so there need not be a table for each packet.
  rows.values = rows.new_values()
  for _, row in ipairs(rows) do prepare(name, row) end
  if rows.union then
    rows.discriminant = { field = field(name .. ".kind", "uint32", "kind") }
    for _, row in pairs(rows.union) do
      if row then prepare(name, row) end
    end
  end
end
local EMPTY = { values = {} }
for _, side in ipairs({ "client", "server" }) do
  for _, packet in pairs(WIRE[side]) do packet.rows = packet.body and WIRE.bodies[packet.body] or EMPTY end
end

-- Reads what stands at `at` up to `stop` as a body. Answers its values, or nil and what is wrong and by which complaint.
local function decode(rows, tree)
  local ok, values = pcall(read_body, rows, tree, rows.values)
  if ok then
    if at > stop then return values end
    return values, (stop - at + 1) .. " bytes behind the body", "trailing"
  end
  if type(values) == "table" and values.refused then return nil, values.refused, "malformed" end
  error(values, 0)
end

-- The detail of an event is a body of its own within an opaque field; it has no complaints, for its event is well.
local function decode_detail(kind, from, count, tree)
  local rows = WIRE.bodies[WIRE.event_detail[kind]]
  if not rows then return nil end
  local outer_at, outer_stop = at, stop
  at, stop = from, from + count - 1
  local values, problem, which = decode(rows, tree)
  at, stop = outer_at, outer_stop
  return values, problem, which
end

-- ==== 5. Conversations ===============================================================================================

-- The frame that is being dissected. Asking Wireshark costs more than most of what is done with the answer, so it is asked
-- once: number, visited (by an earlier pass), now, link, said (first, in the info column).
local frame = {}

-- A link is one direction between two ends; both directions share their conversations. More than one stands there when a
-- port is used again. A conversation has
--   client, server   of each side: next, the serial that is due; remarks on packets by their serials; twins, the same for
--                    serials that were there before; credit, what was left behind a packet of a stream
--   calls            pages of what is known of calls, and by serial cancelled, and cancelled_in by a frame
--   streams          by number: the call that opened it, the credit of both sides, the offset that is due; of a side
--                    whose credit is spent, since when; why the next data may have lost something before them
--   minor, hello     the version in force, since agreed_in, and why it is; none is since refused_in until then; offered is
--                    what the client's last HELLO asked for
--   epoch, due       of the events that are subscribed to: the sequence that comes next if none is left out
--   subscription     the SUBSCRIBE that was answered: frame, after, filter; subscribing, the one that was not yet
--   daemon           what is known of the daemon across conversations: operations, the calls that asked for them, and which
--                    failed in which frame
local links, daemons, ports = {}, {}, {}
local links_by_ports = {}  -- the last one that was seen with them
local subjects = {}        -- what calls are about, shared by all of the same: type, about, asked_ms, allowed_ms, id
local subjects_by_id = {}
local NOTHING = {}

-- The table at `key`, made where there is none.
local function inner(table, key)
  local found = table[key]
  if not found then
    found = {}
    table[key] = found
  end
  return found
end

local function find_link(source, destination, from, to)
  local source_text, destination_text = tostring(source), tostring(destination)
  local key = from * 65536 + to
  local between = inner(inner(links, source_text), destination_text)
  local link = between[key]
  if not link then
    local back = inner(inner(links, destination_text), source_text)[to * 65536 + from]
    link = { from_address = source, to_address = destination, from = from, to = to, conversations = back and back.conversations or {},
      source = source_text .. ":" .. from, destination = destination_text .. ":" .. to }
    between[key] = link
  end
  return link
end

-- Addresses are dear to write out, so that is done where the ports were last seen between others.
local function link_of(pinfo)
  local source, destination, from, to = pinfo.src, pinfo.dst, pinfo.src_port, pinfo.dst_port
  local key = from * 65536 + to
  local link = links_by_ports[key]
  if not (link and link.from_address == source and link.to_address == destination) then
    link = find_link(source, destination, from, to)
    links_by_ports[key] = link
  end
  return link
end

local function new_side()
  return { remarks = {}, twins = {}, credit = {} }
end

-- Whether the sender of a first packet is the client. The daemon's ports are known; else whoever begins to count speaks
-- first, and that is the client unless it is told why it may not; else the lower port is the daemon's.
local function sender_is_client(link, serial, number)
  if ports[link.to] ~= ports[link.from] then return ports[link.to] == true end
  if serial == 1 then return WIRE.client[number] ~= nil end
  return link.from > link.to
end

local function begin(link, serial, number)
  local by_client = sender_is_client(link, serial, number)
  local daemon = by_client and link.destination or link.source
  daemons[daemon] = daemons[daemon] or { operations = {}, asked = {}, failed = {} }
  local conversation = {
    first_link = link, first_side = by_client and "client" or "server", second_side = by_client and "server" or "client",
    client = new_side(), server = new_side(), streams = {},
    calls = { open = {}, settled = {}, spare = nil, cancelled_in = {}, cancelled = {} },
    minor = 0, agreed_in = math.huge, refused_in = math.huge, hello = "for no HELLO was said",
    daemon = daemons[daemon], from = frame.number,
  }
  local list = link.conversations
  list[#list + 1] = conversation
  return conversation
end

local function side_of(conversation)
  return conversation.first_link == frame.link and conversation.first_side or conversation.second_side
end

-- The conversation that the frame belongs to, as far as is known. Later passes look for the one of their frame.
local function conversation_so_far()
  local list = frame.link.conversations
  if not frame.visited then return list[#list] end
  for i = #list, 1, -1 do
    if list[i].from <= frame.number then return list[i] end
  end
end

-- The conversation of a packet, and which side sent it. A client that begins to count anew is another one. What was first
-- found by its magic gives later passes frames too that came before: those belong to the first one.
local function conversation_of(serial, number)
  local conversation = conversation_so_far() or frame.link.conversations[1]
  if not conversation then
    conversation = begin(frame.link, serial, number)
  elseif serial == 1 and number == 1 and not frame.visited and side_of(conversation) == "client"
    and (conversation.client.next or 1) ~= 1 then
    conversation = begin(frame.link, serial, number)
  end
  return conversation, side_of(conversation)
end

-- The longest payload that may come in this frame. A client's bound grows with its HELLO; which of the packets of a frame
-- that is, is not looked at.
local function bytes_max()
  local conversation = conversation_so_far()
  if not conversation then
    local to_daemon = ports[frame.link.to] and not ports[frame.link.from]
    return to_daemon and WIRE.client_bytes_max_before_hello or WIRE.server_bytes_max
  end
  if side_of(conversation) == "server" then return WIRE.server_bytes_max end
  local hello = conversation.hello_in
  if conversation.client.began and not (hello and hello <= frame.number) then return WIRE.client_bytes_max_before_hello end
  return WIRE.client_bytes_max
end

-- The version in force for this frame; nil where HELLO was refused, for then nothing is executed until one succeeds.
local function version_of(conversation)
  if frame.number < conversation.agreed_in and frame.number >= conversation.refused_in then return nil end
  return WIRE.major .. "." .. (frame.number >= conversation.agreed_in and conversation.minor or 0)
end

-- How long the daemon may take to answer; nil where nothing says.
local function allowed_ms(number, asked_ms)
  local procedure = WIRE.client[number]
  if not procedure then return nil end
  if asked_ms == 0 then return procedure.deadline_ms end
  return math.min(asked_ms, procedure.deadline_ms_max)
end

local function subject_of(number, about, asked_ms)
  local same = inner(inner(subjects, number), about or false)
  local subject = same[asked_ms]
  if not subject then
    local name = TYPES[number] or format("type 0x%x", number)
    subject = { type = number, about = about, asked_ms = asked_ms, allowed_ms = allowed_ms(number, asked_ms),
      name = name, title = about and name .. " " .. about or name, id = #subjects_by_id + 1 }
    same[asked_ms], subjects_by_id[subject.id] = subject, subject
  end
  return subject
end

local function allowed_text(subject)
  local allowed = subject.allowed_ms
  return allowed and format(subject.asked_ms == 0 and "allowed was the default of %d ms" or "allowed were %d ms", allowed)
end

-- -- Calls. A table for each would fill the memory, and Lua looks through all tables again and again for what is not needed
-- -- any more. So the calls of PAGE serials share one; when all of them are answered it is written out as a string, which is
-- -- not looked into. In a page, what is known of a call stands in these places behind the one of its serial:

local PAGE = 256
local SENT, SUBJECT, ANSWERED_IN, OPERATION = PAGE, 2 * PAGE, 3 * PAGE, 4 * PAGE  -- at the place itself: its frame
local SETTLED, SETTLED_BYTES, OPERATION_AT = ">I4dI4I4d", 28, 20

-- Notes down a call, unless its serial was used before.
local function note_call(calls, serial, subject)
  local place = serial % PAGE + 1
  local first = serial - place + 1
  local page = calls.open[first]
  if not page then
    if calls.settled[first] then return end
    page, calls.spare = calls.spare or { answered = 0 }, nil
    calls.open[first] = page
  end
  if page[place] then return end
  page[place], page[place + SENT], page[place + SUBJECT] = frame.number, frame.now, subject
end

local function settle(calls, first)
  local page, texts = calls.open[first], {}
  for place = 1, PAGE do
    local subject = page[place + SUBJECT]
    texts[place] =
      pack(SETTLED, page[place], page[place + SENT], subject.id, page[place + ANSWERED_IN], page[place + OPERATION] or 0)
    page[place], page[place + ANSWERED_IN], page[place + OPERATION] = nil, nil, nil
  end
  page.answered = 0
  calls.open[first], calls.settled[first], calls.spare = nil, table.concat(texts), page
end

-- Notes down that a call, which was not answered before, is answered by this frame, which may name its operation.
local function note_answer(calls, serial, operation)
  local place = serial % PAGE + 1
  local first = serial - place + 1
  local page = calls.open[first]
  page[place + ANSWERED_IN], page[place + OPERATION], page.answered = frame.number, operation, page.answered + 1
  if page.answered == PAGE then settle(calls, first) end
end

-- The call that has a serial, if one has: a look at the pages, in a table made for it or in the one given. What is to last
-- goes into the pages.
local function call_of(conversation, serial, call)
  local place = serial % PAGE + 1
  local first = serial - place + 1
  local page, settled = conversation.calls.open[first], conversation.calls.settled[first]
  call = call or {}
  call.serial = serial
  if page and page[place] then
    call.frame, call.sent, call.subject, call.answered_in =
      page[place], page[place + SENT], page[place + SUBJECT], page[place + ANSWERED_IN]
  elseif settled then
    local subject
    call.frame, call.sent, subject, call.answered_in = unpack(SETTLED, settled, (place - 1) * SETTLED_BYTES + 1)
    call.subject = subjects_by_id[subject]
  else
    return nil
  end
  return call
end

-- The operation that a call came to, where its answer was seen and names one.
local function operation_of_call(calls, serial)
  local place = serial % PAGE + 1
  local first = serial - place + 1
  local page, settled = calls.open[first], calls.settled[first]
  local operation = page and page[place + OPERATION]
    or settled and unpack(">d", settled, (place - 1) * SETTLED_BYTES + OPERATION_AT + 1)
  return operation ~= 0 and operation or nil
end

-- What a failure says, in one line.
local function failure_text(failure)
  local name = WIRE.names.code[failure.code] or "code " .. failure.code
  return failure.message == "" and name or name .. ", " .. failure.message
end

local function detail_of(failure, key)
  for _, detail in ipairs(failure.details) do
    if detail.key == key then return detail.value end
  end
end

-- The operation that a failure names: text, and need not be a number.
local function operation_of(failure)
  local told = detail_of(failure, "operation")
  return told and #told <= 15 and find(told, "^[1-9]%d*$") and tonumber(told) or nil
end

local function complain(record, which, text)
  record.complaints = record.complaints or {}
  table.insert(record.complaints, { which, text })
end

-- What is known of the packet that is being dissected. There is one of these, and one call, for all packets, as a table for
-- each would be most of what there is to collect; what is to last is copied.
--   call         the one that the packet is, then with asks, or else that it answers; time since then
--   cancels      the call that it gives up
--   operation    of an event; stream, credit, lost, waited: of a packet of a stream
--   duplicate, late, complaints: what is wrong
local record, call_of_record = {}, {}

local function new_record()
  record.asks, record.call, record.time, record.cancels, record.operation = nil, nil, nil, nil, nil
  record.stream, record.credit, record.lost, record.waited = nil, nil, nil, nil
  record.duplicate, record.late, record.complaints = nil, nil, nil
  return record
end

-- The record of a packet from the daemon that belongs to a call.
local function new_record_of_reply(conversation, reply_to)
  local record, call = new_record(), call_of(conversation, reply_to, call_of_record)
  if call then record.call, record.time = call, frame.now - call.sent end
  return record, call
end

-- -- Judging: each of these answers what is to be known of a packet ever after.

local function judge_serial(record, side, serial)
  local due = side.next
  if serial == due then
    side.next = serial == 0xffffffff and 1 or serial + 1
    return
  end
  if serial == 0 then
    complain(record, "serial", "0 is no serial")
    return
  end
  if due == nil then
    side.began, side.whole = serial == 1, serial == 1
  else
    side.whole = false
    local told = "serial " .. serial .. " came where " .. due .. " was due"
    if serial < due then
      complain(record, "serial", told .. ": it was used before")
      return
    end
    complain(record, "serial", told .. ": " .. count(serial - due, "packet") .. " missing")
  end
  side.next = serial == 0xffffffff and 1 or serial + 1
end

-- The limit in ms that a DEADLINE_EXCEEDED names where it is not the call's deadline, as the grace of VM_SHUTDOWN.
local function other_limit(call, failure)
  local limit = detail_of(failure, "limit")
  return limit and find(limit, "^%d+$") and tonumber(limit) ~= call.subject.allowed_ms and limit or nil
end

-- Which complaint a failure is.
local BY_CODE = { [2] = "version", [4] = "unsupported", [8] = "deadline", [9] = "cancelled", [10] = "denied" }

local function explain(conversation, call, failure)
  local text = failure_text(failure)
  if failure.code == 4 then
    local minor = detail_of(failure, "minor")
    text = text .. ": it needs " .. (minor and WIRE.major .. "." .. minor or "a later minor") .. ", and "
      .. (version_of(conversation) or "none") .. " is in force, " .. conversation.hello
  elseif failure.code == 10 then
    local role, needed = detail_of(failure, "role"), detail_of(failure, "needed")
    local said = failure.message
    -- The message says it, as a rule.
    if role and needed and not (find(said, role, 1, true) and find(said, needed, 1, true)) then
      text = text .. ": the role is " .. role .. ", and needed is " .. needed
    end
    if conversation.identity then
      text = format("%s; the daemon takes the client for %s (frame %d)", text, quoted(conversation.identity),
        conversation.agreed_in)
    end
  elseif failure.code == 8 and call then
    local limit, allowed = other_limit(call, failure), allowed_text(call.subject)
    local shutdown, operation = call.subject.type == 0x111, operation_of(failure)
    if limit then text = format("%s: the %s of the call itself, %s ms, passed", text, shutdown and "grace" or "limit", limit)
    elseif allowed then text = text .. ": " .. allowed end
    local failed_in = operation and conversation.daemon.failed[operation]
    if failed_in then text = format("%s, and operation %.0f failed (frame %d)", text, operation, failed_in)
    -- A shutdown ends with its grace, whether or not an event of that was seen.
    elseif limit and shutdown then text = text .. ", and that ends the operation"
    elseif detail_of(failure, "begun") == "yes" then text = text .. ", and what was begun goes on" end
  elseif failure.code == 2 and detail_of(failure, "majors") then
    local majors, offered = detail_of(failure, "majors"), conversation.offered
    text = format("%s: %sthe daemon speaks only %s %s", text,
      offered and format("the client offered major %d in frame %d, and ", offered.major, offered.frame) or "",
      find(majors, "^%d+$") and "major" or "the majors", majors)
  end
  return text
end

local function judge_failure(record, conversation, call, failure, reply_to)
  if reply_to == 0 then
    complain(record, "closed", "it closes the connection: " .. failure_text(failure))
    return
  end
  if call then
    local operation = operation_of(failure)
    if operation then conversation.daemon.operations[operation] = call.frame end
    if failure.code == 9 then conversation.calls.cancelled[call.serial] = true end
    if failure.code == 2 and call.subject.type == 1 then
      conversation.refused_in = math.min(conversation.refused_in, frame.number)
    end
    -- The daemon's clock says so, unless it speaks of another limit; then ours has said whether it is late.
    if failure.code == 8 and not other_limit(call, failure) then record.late = true end
  end
  complain(record, BY_CODE[failure.code] or "failure", explain(conversation, call, failure))
end

local function judge_hello(conversation, values)
  conversation.minor, conversation.agreed_in, conversation.identity = values.minor, frame.number, values.identity
  local hello, offered = format("agreed on in frame %d", frame.number), conversation.offered
  if offered and offered.minor then
    local less, more = offered.minor < values.newest_minor, offered.minor > values.newest_minor
    hello = format("%s: the client offered %s%d.%d in frame %d; the daemon has %s%d.%d", hello, less and "only " or "",
      offered.major, offered.minor, offered.frame, more and "only " or "", values.major, values.newest_minor)
  end
  conversation.hello = hello
end

-- What an answer tells of an operation and of a stream.
local function judge_values(conversation, call, values)
  local operation, stream = values.operation, values.stream
  if operation and operation ~= 0 then conversation.daemon.operations[operation] = call.frame end
  if stream then
    local credit = WIRE.stream_credit_initial
    conversation.streams[stream] =
      { call = call_of(conversation, call.serial), opened_in = frame.number, client = credit, server = credit, offset = values.offset }
  end
end

-- An answer to a call: whether it is the first, in time, and to what was asked.
local function judge_timing(record, conversation, call, number, values)
  if call.answered_in then
    record.duplicate = true
    complain(record, "duplicate", "the call was answered in frame " .. call.answered_in)
  else
    local operation = values and values.operation
    if values and number == 0 then operation = operation_of(values) end
    note_answer(conversation.calls, call.serial, operation)
  end
  local allowed = call.subject.allowed_ms
  if number ~= 0 and number ~= call.subject.type then
    complain(record, "mismatch", "it answers " .. call.subject.name)
  elseif allowed and record.time * 1000 > allowed + 100 then
    -- The daemon's clock is not ours; a tenth of a second says nothing.
    record.late = true
    if values and number == 0 and values.code == 8 then return end
    complain(record, "deadline", format("it came after %.0f ms, %s", record.time * 1000, allowed_text(call.subject)))
  end
end

-- Another subscription begins wherever it was asked to.
local function judge_subscribed(conversation, reply_to)
  local asked = conversation.subscribing
  conversation.due, conversation.subscription = nil, asked and asked.serial == reply_to and asked or nil
end

local function judge_answer(conversation, packet)
  local number, reply_to, values = packet.number, packet.second, packet.values
  local record, call = new_record_of_reply(conversation, reply_to)
  if call then
    judge_timing(record, conversation, call, number, values)
  elseif reply_to == 0 and number ~= 0 then
    complain(record, "unasked", "it answers nothing, which only the last packet may do")
  elseif reply_to ~= 0 and conversation.client.whole and not (number == 0 and reply_to < conversation.client.next) then
    -- FAILURE may also answer a packet of a stream, which is no call.
    complain(record, "unasked", "no call in this capture has serial " .. reply_to)
  end
  if not values then return record end
  if number == 0 then judge_failure(record, conversation, call, values, reply_to)
  elseif number == 1 then judge_hello(conversation, values)
  elseif number == 4 then judge_subscribed(conversation, reply_to)
  elseif call then judge_values(conversation, call, values) end
  return record
end

local function judge_progress(conversation, packet)
  local record, call = new_record_of_reply(conversation, packet.second)
  local answered_in = call and call.answered_in
  if answered_in then
    complain(record, "duplicate", "progress of what was answered in frame " .. answered_in)
  elseif not call and conversation.client.whole then
    complain(record, "unasked", "no call in this capture has serial " .. packet.second)
  end
  return record
end

-- Only GAP means loss: the sequences of a subscription may jump, for it is filtered. So a jump is worth a note and no more.
local function judge_sequence(record, conversation, epoch, first, last)
  local due, subscription = conversation.epoch == epoch and conversation.due, conversation.subscription
  if due and first > due then
    local which = first - due == 1 and format("event %.0f was", due) or format("events %.0f to %.0f were", due, first - 1)
    local why = "filtered by VM, kind or rights"
    if subscription then
      why = subscription.filter and format("filtered by %s, as SUBSCRIBE in frame %d asked, or by rights", subscription.filter,
        subscription.frame) or "filtered by rights"
    end
    complain(record, "sequence", which .. " not shown: " .. why .. ", or lost without a GAP")
  end
  conversation.epoch, conversation.due = epoch, last + 1
end

-- The number of an operation is told in the answer, which comes last. Before, the first event of an operation is that of
-- the call that has its procedure and virtual machine; the answer has the last word.
local function judge_event(conversation, values)
  local operations = conversation.daemon.operations
  local record = new_record()
  record.operation = values.operation
  judge_sequence(record, conversation, values.epoch, values.sequence, values.sequence)
  local detail = values.kind == 8 and values.decoded
  if detail and (detail.state == 4 or detail.state == 5) then conversation.daemon.failed[values.operation] = frame.number end
  if detail and values.vm and values.operation ~= 0 and not operations[values.operation] then
    operations[values.operation] = inner(conversation.daemon.asked, detail.procedure)[values.vm.name]
  end
  return record
end

-- Why events are lost that a GAP names: the subscription came too late, or fell behind.
local function why_gone(subscription, first)
  if not subscription then return "no longer kept" end
  local after = subscription.after
  return after and after + 1 == first
    and format("no longer kept when SUBSCRIBE in frame %d asked for what is after %.0f", subscription.frame, after)
    or format("no longer kept when the subscription of frame %d came to them", subscription.frame)
end

local function judge_gap(conversation, values)
  local record = new_record()
  -- Without a last one it is not said what comes next.
  if values.last == 0 then conversation.due = nil
  else judge_sequence(record, conversation, values.epoch, values.first, values.last) end
  local text = values.last == 0 and "the sequence asked for is not known: all that is kept follows"
    or format("events %.0f to %.0f are lost to this subscriber: %s", values.first, values.last,
      why_gone(conversation.subscription, values.first))
  complain(record, "gap", text .. "; read the state again and go on from its cursor")
  return record
end

-- The credit of a side is spent: since when, unless it was spent before.
local function note_spent(stream, side)
  stream.spent = stream.spent or {}
  stream.spent[side] = stream.spent[side] or { frame = frame.number, now = frame.now }
end

local function judge_credit(record, stream, side, bytes)
  stream[side] = stream[side] + bytes
  local spent = stream.spent and stream.spent[side]
  if not spent or bytes == 0 then return end
  stream.spent[side] = nil
  local since = format("for %s, since frame %d", duration(frame.now - spent.now), spent.frame)
  record.waited = "credit was spent " .. since
  complain(record, "spent", record.waited)
  if side == "server" then stream.why_lost = "the reader had granted no credit " .. since end
end

local function judge_stream(conversation, side, number, serial, values)
  local stream = conversation.streams[values.stream]
  local record = new_record()
  record.stream = stream
  if values.why then complain(record, "stream_failed", failure_text(values.why)) end
  if stream and number == 0x1011 then
    judge_credit(record, stream, side == "client" and "server" or "client", values.bytes)
  elseif stream and number == 0x1010 then
    local left = stream[side] - values.data
    stream[side] = math.max(left, 0)
    record.credit = stream[side]
    conversation[side].credit[serial] = stream[side]
    if left <= 0 then note_spent(stream, side) end
    if left == 0 then complain(record, "spent", "nothing more may come until the other side says STREAM_CREDIT") end
    if left < 0 then complain(record, "credit", -left .. " bytes more than stream " .. values.stream .. " had credit for") end
    if side == "server" then
      -- Not every call that opens a stream says where it begins.
      if stream.offset and values.offset ~= stream.offset then
        local lost = values.offset - stream.offset
        if lost > 0 then
          local why = stream.why_lost and ": " .. stream.why_lost or ""
          complain(record, "jump", format("%.0f bytes of stream %d are lost%s", lost, values.stream, why))
          record.lost = lost
        else
          complain(record, "jump", format("stream %d goes back by %s", values.stream, count(-lost, "byte")))
        end
      end
      stream.offset, stream.why_lost = values.offset + values.data, nil
    end
  end
  return record
end

-- What a SUBSCRIBE asks for, until it is answered.
local function note_subscribing(conversation, serial, values)
  local filters = {}
  if #values.kinds > 0 then filters[1] = "kind (" .. words("event", values.kinds) .. ")" end
  if values.vm ~= "" then filters[#filters + 1] = "VM (" .. values.vm .. ")" end
  conversation.subscribing = { serial = serial, frame = frame.number, after = values.after and values.after.sequence,
    filter = filters[1] and table.concat(filters, " and ") }
end

local function judge_call(conversation, packet)
  local number, values = packet.number, packet.values or NOTHING
  local vm = values.vm
  local about = vm and vm ~= "" and vm or number ~= 1 and values.name ~= "" and values.name or nil
  local serial, calls = packet.serial, conversation.calls
  note_call(calls, serial, subject_of(number, about, packet.second))
  if number == 1 then
    conversation.hello_in = conversation.hello_in or frame.number
    conversation.offered = values.major and { major = values.major, minor = values.minor, frame = frame.number }
  end
  if vm then inner(conversation.daemon.asked, number)[vm] = frame.number end
  if number == 4 and values.kinds then note_subscribing(conversation, serial, values) end
  local record = new_record()
  record.asks, record.call = true, call_of(conversation, serial, call_of_record)
  if number == 3 and values.serial then
    record.cancels = call_of(conversation, values.serial)
    if record.cancels and not record.cancels.answered_in then calls.cancelled_in[values.serial] = frame.number end
  end
  return record
end

local function is_call(side, packet)
  return side == "client" and (packet.number < UNANSWERED or not packet.known)
end

local function judge_by_type(conversation, side, packet)
  local number, values = packet.number, packet.values
  if is_call(side, packet) then return judge_call(conversation, packet) end
  if not packet.known then return new_record() end
  if number < UNANSWERED then return judge_answer(conversation, packet) end
  if number == 0x1000 then return judge_progress(conversation, packet) end
  if not values then return new_record() end
  if number == 0x1001 then return judge_event(conversation, values) end
  if number == 0x1002 then return judge_gap(conversation, values) end
  return judge_stream(conversation, side, number, packet.serial, values)
end

local function judge(conversation, side, packet)
  -- Events may be among the packets that the capture lacks.
  if side == "server" and packet.serial ~= conversation.server.next then conversation.due = nil end
  local record = judge_by_type(conversation, side, packet)
  judge_serial(record, conversation[side], packet.serial)
  if packet.problem then complain(record, packet.complaint, packet.problem) end
  if not packet.known then
    complain(record, "unknown_type",
      format("a %s of %d.%d has no type 0x%x", side, WIRE.major, WIRE.newest_minor, packet.number))
  end
  return record
end

-- What belongs to a packet that was judged before.
local function recall(conversation, side, packet)
  local number, values = packet.number, packet.values
  if side == "server" and packet.known and number <= 0x1000 then
    return (new_record_of_reply(conversation, packet.second))
  end
  local record = new_record()
  if is_call(side, packet) then
    record.call = call_of(conversation, packet.serial, call_of_record)
    record.asks = record.call ~= nil
    record.cancels = number == 3 and values and call_of(conversation, values.serial)
  elseif values and number == 0x1001 then
    record.operation = values.operation
  elseif values and number ~= 0x1002 then
    record.stream, record.credit = conversation.streams[values.stream], conversation[side].credit[packet.serial]
  end
  return record
end

-- What is known of a packet: judged when it comes for the first time, looked up afterwards. Kept is what was complained of.
local function record_of(conversation, side, packet)
  local known, serial = conversation[side], packet.serial
  if not frame.visited then
    local again = known.next and serial < known.next
    local record = judge(conversation, side, packet)
    if record.complaints then
      local remark = { complaints = record.complaints, duplicate = record.duplicate, late = record.late, lost = record.lost,
        waited = record.waited }
      if again then inner(known.twins, serial)[frame.number .. ":" .. packet.first] = remark else known.remarks[serial] = remark end
    end
    return record
  end
  local record = recall(conversation, side, packet)
  local twins = known.twins[serial]
  local remark = twins and twins[frame.number .. ":" .. packet.first] or known.remarks[serial]
  if remark then
    record.complaints, record.duplicate = remark.complaints, remark.duplicate
    record.late, record.lost, record.waited = remark.late, remark.lost, remark.waited
  end
  return record
end

-- ==== 6. Sentences ===================================================================================================

-- What a call says besides its name.
local calls = {
  [1] = function(v)
    if v.foreign then return format("speaks major %d", v.major) end
    local can = #v.capabilities > 0 and ", can " .. words("capability", v.capabilities) or ""
    return format("speaks %d.%d%s, is %s", v.major, v.minor, can, quoted(v.name))
  end,
  [3] = function(v, record) return record.cancels and "give up " .. record.cancels.subject.title or "give up call " .. v.serial end,
  [4] = function(v)
    local from = v.after and format("after event %.0f", v.after.sequence) or "from now on"
    local which = #v.kinds > 0 and words("event", v.kinds) .. " events" or "events"
    return (v.vm == "" and which or which .. " of " .. v.vm) .. " " .. from
  end,
  [0x21] = function(v) return format("connection %.0f", v.id) end,
  [0x31] = function(v) return format("operation %.0f", v.id) end,
  [0x32] = function(v) return format("operation %.0f", v.id) end,
  [0x105] = function(v) return words("field", v.fields) end,
  [0x111] = function(v)
    local grace = v.grace_ms == 0 and "of a minute, the default" or "of " .. duration(v.grace_ms / 1000)
    return format("%s, a grace %s, then %s", v.vm, grace, name_in("shutdown_then", v["then"]))
  end,
  [0x117] = function(v) return v.vm .. " until " .. words("state", v.states) end,
  [0x120] = function(v) return v.vm .. " to " .. name_in("console_mode", v.mode) end,
}

-- What an answer says.
local answers = {
  [1] = function(v)
    return format("%d.%d agreed, of %d.%d; %s is %s", v.major, v.minor, v.major, v.newest_minor, quoted(v.identity),
      name_in("role", v.role))
  end,
  [3] = function(v) return v.found and "found, given up" or "no such call is open" end,
  [4] = function(v) return format("event %.0f is the first to come", v.first.sequence) end,
  [0x120] = function(v) return format("stream %d, from byte %.0f", v.stream, v.offset) end,
}

local function answer_text(number, v)
  if answers[number] then return answers[number](v) end
  if v.operation and v.state then return format("%s, operation %.0f", name_in("state", v.state), v.operation) end
  if v.operation then return format("operation %.0f", v.operation) end
  local rows, text = v.rows or v.names, "answered"
  if rows then text = count(#rows, v.names and "name" or "row") end
  if v.cursor then
    -- Of one virtual machine it is the state that was asked for.
    local state = v.vm and (v.state or v.vm.state)
    text = format("%s as of event %.0f", state and name_in("state", state) or text, v.cursor.sequence)
  end
  return v.next and v.next ~= "" and text .. ", more to come" or text
end

local event_texts = {
  [1] = function(d) return "daemon " .. d.release .. " started" end,
  [2] = function(d) return d.replaced and "defined anew" or "defined" end,
  [4] = function(d)
    local why = d.message == "" and name_in("reason", d.reason) or d.message
    return format("%s, was %s (%s)", name_in("state", d.state), name_in("state", d.previous), why)
  end,
  [5] = function(d) return d.by_guest and "reset by its guest" or "reset" end,
  [6] = function(d) return d.connected and "monitor is back" or "monitor is gone: " .. d.why end,
  [7] = function(d) return d.identity == "" and "nobody writes to its console" or d.identity .. " writes to its console" end,
  [8] = function(d, v)
    local what = (TYPES[d.procedure] or d.procedure) .. (v.vm and " " .. v.vm.name or "")
    local text = format("operation %.0f (%s) %s", v.operation, what, name_in("operation_state", d.state))
    return d.failure and text .. ": " .. failure_text(d.failure) or text
  end,
  [9] = function(d) return format("client %s: %s", d.name, name_in("client_change", d.change)) end,
  [10] = function(d) return format("certificate of %s: %s", d.purpose, name_in("certificate_change", d.change)) end,
}

local function event_text(v)
  -- What became of an operation is the operation's state: "db1 running" would be read as that of the virtual machine.
  if v.decoded and v.kind == 8 then return format("EVENT %.0f: %s", v.sequence, event_texts[8](v.decoded, v)) end
  local what = v.decoded and event_texts[v.kind] and event_texts[v.kind](v.decoded) or name_in("event", v.kind)
  local text = format("EVENT %.0f: %s%s", v.sequence, v.vm and v.vm.name .. " " or "", what)
  return v.operation == 0 and text or format("%s, by operation %.0f", text, v.operation)
end

local unanswered = {
  [0x1000] = function(v, record)
    local of = v.total == 0 and "" or format(" of %.0f", v.total)
    return format("PROGRESS of %s: %.0f%s, %s", record.call and record.call.subject.title or "a call", v.done, of, v.what)
  end,
  [0x1001] = event_text,
  [0x1002] = function(v)
    if v.last == 0 then return "GAP: the sequence asked for is not known, and all that is kept follows" end
    return format("GAP: events %.0f to %.0f are lost", v.first, v.last)
  end,
  [0x1010] = function(v, record)
    local text = format("STREAM_DATA %d: %s at %.0f", v.stream, count(v.data, "byte"), v.offset)
    if record.lost then text = text .. ", " .. count(record.lost, "byte") .. " lost before" end
    return record.credit == 0 and text .. ", the last that it has credit for" or text
  end,
  [0x1011] = function(v, record)
    local text = format("STREAM_CREDIT %d: %s more", v.stream, count(v.bytes, "byte"))
    return record.waited and text .. "; " .. record.waited or text
  end,
  [0x1012] = function(v)
    return format("STREAM_END %d%s", v.stream, v.why and ": " .. failure_text(v.why) or ": no more from here")
  end,
}

local function sentence(side, packet, record)
  local number, values = packet.number, packet.values
  local name = packet.known and packet.known.name or format("type 0x%x", number)
  if not values then
    return format("%s that cannot be read (%s)", name, packet.problem or "unknown")
  end
  if number >= UNANSWERED then return unanswered[number](values, record) end
  if side == "client" then
    local said = calls[number] and calls[number](values, record) or record.call and record.call.subject.about
    local told = said and name .. (number == 1 and ": " or " ") .. said or name
    return packet.second == 0 and told or told .. ", within " .. duration(packet.second / 1000)
  end
  local call = record.call
  if number == 0 and packet.second == 0 then return "FAILURE, and the end: " .. failure_text(values) end
  local between = number == 0 and " FAILED: " or ": "
  local text = number == 0 and failure_text(values) or answer_text(number, values)
  if call then return call.subject.title .. between .. text .. " (" .. duration(record.time) .. ")" end
  return (number == 0 and "call " .. packet.second or name) .. between .. text
end

-- ==== 7. The tree ====================================================================================================

local function add(tree, name, ...)
  return tree:add(fields[name], ...):set_generated()
end

local function nstime(seconds)
  local whole = math.floor(seconds)
  return NSTime.new(whole, math.floor((seconds - whole) * 1e9 + 0.5))
end

local show_header, show_context, show_body

-- Lua allows a script so many names that what only the tree needs stands in a block of its own.
do

function show_header(tree, side, packet)
  local first = packet.first
  tree:add(fields.magic, range(first, 4))
  tree:add(fields.length, range(first + 4, 4))
  tree:add(fields.serial, range(first + 8, 4))
  local second = tree:add(fields[side == "client" and "deadline_ms" or "reply_to"], range(first + 12, 4))
  local default = side == "client" and packet.second == 0 and allowed_ms(packet.number, 0)
  if default then second:append_text(format(" (the default of %s, %d ms)", TYPES[packet.number], default)) end
  tree:add(fields.type, range(first + 16, 4))
  tree:add(fields[side .. ".type"], range(first + 16, 4)):set_hidden()
  add(tree, "from", side)
end

local function show_cancelling(tree, calls, serial)
  if calls.cancelled_in[serial] then add(tree, "cancelled_in", calls.cancelled_in[serial]) end
  if calls.cancelled[serial] then add(tree, "cancelled", true) end
end

local function show_call(tree, conversation, record)
  local call = record.call
  if record.cancels then add(tree, "cancels", record.cancels.frame) end
  show_cancelling(tree, conversation.calls, call.serial)
  if call.answered_in then
    add(tree, "response_in", call.answered_in)
  elseif frame.visited then
    add(tree, "unanswered", true)
    tree:add_proto_expert_info(complaints.unanswered, call.subject.name .. " is not answered in this capture")
  end
end

local function version_text(conversation, packet, record)
  local version = version_of(conversation)
  if not version then return "none: HELLO was refused in frame " .. conversation.refused_in end
  return record.asks and packet.number == 1 and frame.number < conversation.agreed_in and "none yet" or version
end

-- What is not in the bytes: what belongs to this packet, and what is wrong with it.
function show_context(tree, conversation, packet, record)
  local call = record.call or record.stream and record.stream.call
  if record.asks then
    show_call(tree, conversation, record)
  elseif call then
    add(tree, "request_in", call.frame)
    if record.time then add(tree, "time", nstime(record.time)) end
    if call.subject.about then add(tree, "vm.name", call.subject.about) end
    show_cancelling(tree, conversation.calls, call.serial)
  end
  local operation = record.asks and operation_of_call(conversation.calls, call.serial)
    or packet.number == 0 and packet.values and operation_of(packet.values)
  if operation then add(tree, "operation", UInt64.new(operation % WORD, math.floor(operation / WORD))) end
  if record.duplicate then add(tree, "duplicate", true) end
  if record.late then add(tree, "late", true) end
  if record.stream then add(tree, "stream.opened_in", record.stream.opened_in) end
  if record.credit then add(tree, "stream.credit", record.credit) end
  local asked = record.operation and conversation.daemon.operations[record.operation]
  if asked then add(tree, "operation.call_in", asked) end
  add(tree, "version", version_text(conversation, packet, record))
  for _, complaint_of in ipairs(record.complaints or NOTHING) do
    tree:add_proto_expert_info(complaints[complaint_of[1]], complaint_of[2])
  end
end

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\27"] = "\\e", ["\\"] = "\\\\" }

local function in_hex(bytes)
  return (bytes:gsub(".", function(one) return format("\\x%02x", byte(one)) end))
end

-- Of bytes beyond ASCII what is a character stays, unless it is one that controls.
local function escape_beyond_ascii(bytes)
  if not is_utf8(bytes) or find(bytes, "^\194[\128-\159]") then return in_hex(bytes) end
end

-- What a console says, so that it can be read and looked for; it is no longer than a packet. Captures of the daemon have
-- zeroes in its place, and a stream that is known to be no console is not shown as text.
local function show_text(tree, from, length, stream)
  if stream and stream.call.subject.type ~= 0x120 then return end
  local data = sub(raw, from, from + length - 1)
  if not find(data, "[^\0]") then return end
  local text = data:gsub("[\0-\31\127\\]", function(one) return ESCAPES[one] or in_hex(one) end)
  add(tree, "stream.text", range(from, length), (text:gsub("[\128-\255][\128-\191]*", escape_beyond_ascii)))
end

function show_body(tree, packet, record)
  local body = packet.first + HEADER_BYTES + 12
  if packet.known and (packet.values or packet.problem) then
    at = body
    decode(packet.known.rows, tree)
    if packet.detail then decode_detail(packet.values.kind, packet.detail, packet.values.detail, tree) end
    if at <= stop and at > body then tree:add(fields.body, range(at, stop - at + 1)) end
    -- Before the data stand the stream, the flags, the offset and the length.
    if packet.number == 0x1010 and packet.values then show_text(tree, body + 20, packet.values.data, record.stream) end
  elseif stop >= body then
    tree:add(fields.body, range(body, stop - body + 1))
  end
  if items > ITEMS_MAX then tree:add_proto_expert_info(complaints.shortened) end
end

end

-- ==== 8. Packets =====================================================================================================

-- What a packet leaves behind is collected soon. Left alone, Lua lets as much of it lie as is in use, and that grows with a
-- capture; then the strings among it are what slows down: short ones are kept in a table by a hash that leaves out every
-- other byte, which for packets that differ in little but their serials makes long chains. And a collection ends soon after it
-- began (setstepmul), for what comes meanwhile lies until the next one.
local LITTER_KIB, PACE_FRAMES = 512, 4096
local until_paced = 0

-- How much may lie is a share of what is in use, which grows: so the share is set anew from time to time; of less than 4 in
-- 100 Lua 5.4 makes none at all. All scripts of this Wireshark have one collector in common: one that keeps many tables has
-- them looked through more often than without us. So nothing is set before the first packet of ours.
local function pace_collection()
  until_paced = PACE_FRAMES
  collectgarbage("setpause", 100 + math.max(4, math.floor(100 * LITTER_KIB / collectgarbage("count"))))
  collectgarbage("setstepmul", 20000)
end

-- How many listeners count; while there are any, what was called and answered in the frame is noted down for them.
local listeners = 0
local noted = {}

local function note(side, packet, record)
  if noted.frame ~= frame.number or noted.visited ~= frame.visited then
    noted = { frame = frame.number, visited = frame.visited, calls = 0 }
  end
  if record.asks then noted.calls = noted.calls + 1 end
  if side == "server" and record.call and packet.number < UNANSWERED and not record.duplicate then
    noted[#noted + 1] = { subject = record.call.subject, time = record.time, failed = packet.number == 0 }
  end
end

-- HELLO of another major: its first word.
local FOREIGN_HELLO = { name = "HELLO", rows = { WIRE.bodies.hello_call[1], values = {} } }

-- The packet that is being dissected: first, where it begins in `raw`; serial, second (deadline_ms or reply_to), number;
-- known, what the table says of its type; values, or a problem and the complaint that it is.
local packet = {}

local function read_words(first)
  packet.first = first
  packet.serial, packet.second, packet.number, at = unpack(">I4I4I4", raw, first + HEADER_BYTES)
end

local function read_event_detail()
  -- The detail is the last field: it and its padding end where the packet does, but for what is too much.
  local values, behind = packet.values, packet.complaint == "trailing" and stop - at + 1 or 0
  packet.detail = stop + 1 - behind - values.detail - (-values.detail % 4)
  local problem
  values.decoded, problem = decode_detail(values.kind, packet.detail, values.detail)
  if problem and not packet.problem then
    packet.problem, packet.complaint = "its detail: " .. problem, "malformed"
  end
end

local function read_values(side)
  local known = WIRE[side][packet.number]
  packet.known, packet.detail = known, nil
  if not known then
    packet.values, packet.problem, packet.complaint = nil, nil, nil
    return
  end
  local body = at
  packet.values, packet.problem, packet.complaint = decode(known.rows)
  if packet.number == 1 and side == "client" and stop >= body + 3 then
    -- Of another major's HELLO only the first word is ours to read.
    at = body
    local major = take_uint()
    if major ~= WIRE.major then
      packet.values, packet.problem, packet.known = { major = major, foreign = true }, nil, FOREIGN_HELLO
    end
  elseif packet.number == 0x1001 and packet.values then
    packet.values.decoded = nil
    if packet.values.detail > 0 then read_event_detail() end
  end
end

-- One whole packet of `raw`, from `first` up to `stop`. Answers its sentence.
local function dissect_packet(first, tree_root, visible)
  read_words(first)
  local conversation, side = conversation_of(packet.serial, packet.number)
  read_values(side)
  local record = record_of(conversation, side, packet)
  if listeners > 0 then note(side, packet, record) end
  local text = sentence(side, packet, record)
  if visible then
    local tree = tree_root:add(vmwire, range(first, stop - first + 1), "vmwire, " .. text)
    show_header(tree, side, packet)
    show_context(tree, conversation, packet, record)
    show_body(tree, packet, record)
  end
  return text
end

-- What the first bytes of a stranger look like; the daemon says the same in its details.
local HTTP = { ["GET "] = true, HEAD = true, POST = true, ["PUT "] = true, DELE = true, OPTI = true, CONN = true, PATC = true,
  TRAC = true, ["PRI "] = true }
local LIBVIRT = { [" \0\128\134"] = true, [" \0\128\135"] = true, ["\6\144\6\144"] = true, keep = true }

local function stranger(bytes)
  if #bytes < 8 then return nil end
  local first, second = sub(bytes, 1, 4), sub(bytes, 5, 8)
  if HTTP[first] then return "an HTTP request" end
  if first == "SSH-" then return "an SSH banner" end
  if find(bytes, "^\22\3[\0-\4]..\1") then return "a TLS ClientHello" end
  local word = unpack(">I4", bytes)
  if LIBVIRT[second] and word >= 28 and word <= 32 * 1024 * 1024 then return "a libvirt packet" end
  if word >= 0x80000028 and word < 0x80100000 then return "a SunRPC record" end
end

-- Where the next packet may begin: the next magic from `first` on, or the beginning of one at the very end, or behind it.
local function resynchronise(first)
  local found = find(raw, MAGIC, first, true)
  if found then return found end
  for tail = 3, 1, -1 do
    if #raw - tail + 1 >= first and sub(raw, -tail) == sub(MAGIC, 1, tail) then return #raw - tail + 1 end
  end
  return #raw + 1
end

local function skip(first, next_first, tree_root, visible, which, text)
  if next_first <= #raw then text = text .. "; the next packet begins " .. next_first - first .. " bytes further on" end
  if visible then
    local tree = tree_root:add(vmwire, range(first, next_first - first), "vmwire, " .. text)
    tree:add(fields.lost, range(first, next_first - first))
    tree:add_proto_expert_info(complaints[which], text)
  end
  return text
end

local function length_problem(length)
  if length < WIRE.payload_bytes_min then return format("a payload of %d bytes is too short", length) end
  if length % 4 ~= 0 then return format("a payload of %.0f bytes, which is no multiple of 4", length) end
  -- Nearly all packets are short enough for whoever sent them.
  if length <= WIRE.client_bytes_max_before_hello then return nil end
  local limit = bytes_max()
  if length > limit then return format("a payload of %.0f bytes, where %d is the limit", length, limit) end
end

-- Asks for the rest of what begins at `first`. Where nothing more can come, what there is is shown as it is.
local function want_more(first, missing, pinfo, tree_root, visible)
  if pinfo.can_desegment > 0 and packet_tvb:reported_len() == packet_tvb:len() then
    pinfo.desegment_offset = first - 1
    pinfo.desegment_len = missing or DESEGMENT_ONE_MORE_SEGMENT
    return nil
  end
  local text = "a packet that is not whole in this capture"
  if visible then
    local tree = tree_root:add(vmwire, range(first, #raw - first + 1), "vmwire, " .. text)
    tree:add(fields.body, range(first, #raw - first + 1))
    tree:add_proto_expert_info(complaints.cut, missing and count(missing, "byte") .. " missing" or text)
  end
  return text
end

-- Takes one packet, or what is none, off `raw` at `first`. Answers where the next one begins, nil when more is needed, and a
-- sentence.
local function step(first, pinfo, tree_root, visible)
  local left = #raw - first + 1
  if sub(raw, first, first + 3) ~= MAGIC then
    if left < 4 and sub(raw, first) == sub(MAGIC, 1, left) then
      return nil, want_more(first, nil, pinfo, tree_root, visible)
    end
    local next_first, looks_like = resynchronise(first), stranger(sub(raw, first, first + 7))
    local text = looks_like and "this looks like " .. looks_like or count(next_first - first, "byte") .. " outside of any packet"
    return next_first, skip(first, next_first, tree_root, visible, "bad_magic", text)
  end
  if left < HEADER_BYTES then return nil, want_more(first, nil, pinfo, tree_root, visible) end
  local length = unpack(">I4", raw, first + 4)
  local problem = length_problem(length)
  if problem then
    local next_first = resynchronise(first + 4)
    return next_first, skip(first, next_first, tree_root, visible, "bad_length", problem)
  end
  if left < HEADER_BYTES + length then
    return nil, want_more(first, HEADER_BYTES + length - left, pinfo, tree_root, visible)
  end
  stop = first + HEADER_BYTES + length - 1
  local text = dissect_packet(first, tree_root, visible)
  return first + HEADER_BYTES + length, text
end

local SENTENCES_MAX = 6
-- Known to Wireshark when the whole file has been read.
local registered_vmwire

local function begin_frame(pinfo)
  local number, visited = pinfo.number, pinfo.visited
  if frame.number ~= number or frame.visited ~= visited then
    frame.number, frame.visited, frame.said, items = number, visited, nil, 0
  end
  until_paced = until_paced - 1
  if until_paced < 0 then pace_collection() end
  frame.now = pinfo.rel_ts
  frame.link = link_of(pinfo)
end

-- Puts what was said of (a part of) the frame into its info column.
local function tell(columns, said, sentences)
  if sentences > SENTENCES_MAX then said = said .. " | " .. sentences - SENTENCES_MAX .. " more" end
  -- A frame may hold what several reads of a peer's stream gave; the fence keeps what earlier ones said.
  local info = columns.info
  -- Of a frame that is dissected anew, as when somebody selects it twice, nothing is said yet: the column is that of TCP
  -- again. The first words tell, for other characters may stand there in another form.
  if frame.said and not find(tostring(info), match(frame.said, "^[%w_ ]*"), 1, true) then frame.said = nil end
  info:set(frame.said and " | " .. said or said)
  info:fence()
  frame.said = frame.said or said
end

local function dissect(tvb, pinfo, root)
  registered_vmwire = registered_vmwire or Dissector.get("vmwire")
  begin_frame(pinfo)
  -- Without anybody who looks at the tree there is none.
  local visible = root:referenced(registered_vmwire)
  packet_tvb, raw = tvb, tvb:raw()
  local length, said, sentences = #raw, nil, 0
  local first, text = 1, nil
  while first and first <= length do
    first, text = step(first, pinfo, root, visible)
    if text then
      sentences = sentences + 1
      if sentences == 1 then said = text elseif sentences <= SENTENCES_MAX then said = said .. " | " .. text end
    end
  end
  local columns = pinfo.cols
  columns.protocol = "vmwire"
  if said then tell(columns, said, sentences) end
  return length
end

-- To be called as the function that it is by what stands below: asking Wireshark for it would be one layer more, and only
-- the first below TCP may ask for more bytes.
vmwire.dissector = dissect

function vmwire.init()
  links, links_by_ports, daemons, subjects, subjects_by_id, frame, noted = {}, {}, {}, {}, {}, {}, {}
end

-- ==== 9. Statistics ==================================================================================================

local HEADINGS = { "procedure", "calls", "errors", "min ms", "mean ms", "max ms" }

-- A listener that counts: by procedure, how many answers, how many of them failures, and the times they took.
local function new_statistics(filter)
  local listener = Listener.new("frame", filter)
  local rows, called = {}, 0
  listeners = listeners + 1

  function listener.packet(pinfo)
    if noted.frame ~= pinfo.number then return end
    called = called + noted.calls
    for _, answer in ipairs(noted) do
      local name, took = answer.subject.name, answer.time * 1000
      local row = rows[name] or { answers = 0, errors = 0, least = took, most = took, sum = 0 }
      rows[name] = row
      row.answers, row.sum = row.answers + 1, row.sum + took
      row.errors = row.errors + (answer.failed and 1 or 0)
      row.least, row.most = math.min(row.least, took), math.max(row.most, took)
    end
  end

  function listener.reset()
    rows, called = {}, 0
  end

  local function text()
    local names, answered = {}, 0
    for name, row in pairs(rows) do
      names[#names + 1] = name
      answered = answered + row.answers
    end
    table.sort(names)
    -- No wider than the window that Wireshark makes of it, which would break the lines.
    local lines = { format("%-18s %7s %7s %11s %11s %11s", table.unpack(HEADINGS)) }
    for _, name in ipairs(names) do
      local row = rows[name]
      lines[#lines + 1] = format("%-18s %7d %7d %11.3f %11.3f %11.3f", name, row.answers, row.errors, row.least,
        row.sum / row.answers, row.most)
    end
    lines[#lines + 1] = format("%d calls, %d of them answered", called, answered)
    return table.concat(lines, "\n") .. "\n"
  end

  return listener, text
end

-- tshark -q -o vmwire.statistics:TRUE -r FILE
local printing = false
local function print_statistics_at_the_end()
  if printing then return end
  printing = true
  local listener, text = new_statistics()
  function listener.draw() io.stdout:write(text()) end
end

-- Statistics / vmwire: service response times
local function show_statistics()
  local window = TextWindow.new("vmwire: service response times")
  local listener, text = new_statistics()
  function listener.draw() window:set(text()) end
  window:set_atclose(function()
    listener:remove()
    listeners = listeners - 1
  end)
  retap_packets()
end

-- ==== 10. Agents =====================================================================================================

-- `vmwire capture --agents` shows what passes between the daemon and agents in guests, too. That is not our protocol: it is
-- JSON, a line for each request and answer, and bytes FF that have the other side forget what it was reading. Here it is cut
-- into lines, and told which answer belongs to which request; what the lines say is left to Wireshark's dissector of JSON.
local agent = Proto("vmwire_agent", "vmwire guest agent")
-- Where captures have them: the daemon calls an agent at this port of an address in 2001:db8:2::/64, which is nobody's.
local AGENT_PORT = 16516
local agent_door = Proto("vmwire_agent_port", "An agent in a guest, where a capture of vmwire has them")

do

local LINE_BYTES_MAX = 65536
local DEPTH_MAX = 64
local TOLD_BYTES_MAX = 200
local GUESTS_FIRST, GUESTS_LAST = Address.ipv6("2001:db8:2::"), Address.ipv6("2001:db8:2:0:ffff:ffff:ffff:ffff")

local shown = {
  execute = ProtoField.string("vmwire_agent.execute", "Command"),
  error = ProtoField.string("vmwire_agent.error", "Class of the error"),
  resync = ProtoField.bytes("vmwire_agent.resync", "Resynchronisation"),
  other = ProtoField.bytes("vmwire_agent.other", "Bytes that are no JSON"),
  request_in = ProtoField.framenum("vmwire_agent.request_in", "The request is in frame", base.NONE, frametype.REQUEST),
  response_in = ProtoField.framenum("vmwire_agent.response_in", "The answer is in frame", base.NONE, frametype.RESPONSE),
  time = ProtoField.relative_time("vmwire_agent.time", "Time since the request"),
}
agent.fields = shown
local no_json = ProtoExpert.new("vmwire_agent.expert.no_json", "These bytes are no JSON", expert.group.UNDECODED, expert.severity.WARN)
local failed = ProtoExpert.new("vmwire_agent.expert.failed", "The agent refused", expert.group.RESPONSE_CODE, expert.severity.NOTE)
agent.experts = { no_json, failed }

-- -- A reader of JSON, for the sentences, and so that Wireshark's is given nothing that is none. Of a value answers a table
-- -- for what has members, else its text; and where what follows it begins.

local read_value

local function behind_blanks(text, from)
  return find(text, "[^ \t\r\n]", from) or #text + 1
end

local function wrong_at(text, from)
  refuse(from > #text and "it ends early" or "what stands at byte " .. from .. " does not belong there")
end

-- A string, from behind its first quotation mark on. Escapes stay but for those of what can stand in a line as it is.
local function read_text(text, from)
  local next_first = from
  while true do
    local found = find(text, '["\\\0-\31]', next_first)
    local what = found and byte(text, found)
    if what == 0x22 then return sub(text, from, found - 1):gsub('\\(["\\/])', "%1"), found + 1 end
    if what ~= 0x5c then wrong_at(text, found or #text + 1) end
    local _, last = find(text, '^\\["\\/bfnrt]', found)
    if not last then _, last = find(text, "^\\u%x%x%x%x", found) end
    if not last then wrong_at(text, found) end
    next_first = last + 1
  end
end

-- What stands between brackets, each with its name if these are braces.
local function read_members(text, from, depth, close)
  if depth > DEPTH_MAX then refuse("it is nested more than " .. DEPTH_MAX .. " deep") end
  local members = {}
  from = behind_blanks(text, from)
  if sub(text, from, from) == close then return members, from + 1 end
  while true do
    local name = #members + 1
    if close == "}" then
      if byte(text, from) ~= 0x22 then wrong_at(text, from) end
      name, from = read_text(text, from + 1)
      from = behind_blanks(text, from)
      if sub(text, from, from) ~= ":" then wrong_at(text, from) end
      from = behind_blanks(text, from + 1)
    end
    members[name], from = read_value(text, from, depth)
    from = behind_blanks(text, from)
    local mark = sub(text, from, from)
    if mark == close then return members, from + 1 end
    if mark ~= "," then wrong_at(text, from) end
    from = behind_blanks(text, from + 1)
  end
end

local WORDS = { ["true"] = true, ["false"] = true, null = true }

function read_value(text, from, depth)
  local first = sub(text, from, from)
  if first == "{" then return read_members(text, from + 1, depth + 1, "}") end
  if first == "[" then return read_members(text, from + 1, depth + 1, "]") end
  if first == '"' then return read_text(text, from + 1) end
  local word = match(text, "^%a+", from)
  if not WORDS[word] then
    local whole, behind = match(text, "^(%-?%d+)()", from)
    if not whole or find(whole, "^%-?0%d") then wrong_at(text, from) end
    local last = select(2, find(text, "^%.%d+", behind)) or behind - 1
    last = select(2, find(text, "^[eE][+-]?%d+", last + 1)) or last
    word = sub(text, from, last)
  end
  return word, from + #word
end

local function read_line(text)
  if not is_utf8(text) then refuse("it is no UTF-8") end
  local value, from = read_value(text, 1, 0)
  from = behind_blanks(text, from)
  if from <= #text then wrong_at(text, from) end
  return value
end

-- -- Which answer belongs to which request. The daemon asks one thing at a time.

-- In one line, and not too much of it.
local function told(text)
  if #text <= TOLD_BYTES_MAX then return text end
  return match(sub(text, 1, TOLD_BYTES_MAX), "^(.-)[\192-\255]?[\128-\191]*$") .. "..."
end

local function title_of(message)
  local id = type(message.arguments) == "table" and message.arguments.id
  return told(type(id) == "string" and message.execute .. " " .. id or message.execute)
end

-- Whether a message may be the answer to a request. Others may come late: an answer bears the id of its request, and one
-- that synchronises has its number returned. The bytes FF before that are complained of by agents, before they answer.
local function may_answer(message, request)
  if message.id ~= request.id then return false end
  if message["return"] then return not request.number or message["return"] == request.number end
  if type(message.error) ~= "table" then return false end
  return not request.number or message.error.class == "CommandNotFound"
end

-- What the other side has asked and was not answered yet.
local function pending_request(pending)
  for link, request in pairs(pending) do
    if link ~= frame.link then return request end
  end
end

-- What is known of a message, from the first pass on: of a request its title and answered_in, of an answer its request and
-- time.
local function record_of_message(message, first)
  local talk = inner(frame.link.conversations, "agent")
  local key = frame.number .. " " .. packet_tvb:offset() .. " " .. first
  if frame.visited then return talk[key] or NOTHING end
  local record, pending = {}, inner(talk, "pending")
  talk[key] = record
  if type(message.execute) == "string" then
    local synchronises = find(message.execute, "^guest%-sync")
    record.number = synchronises and type(message.arguments) == "table" and message.arguments.id
    record.title, record.id, record.sent = title_of(message), message.id, frame.now
    record.link, record.frame = frame.link, frame.number
    pending[frame.link] = record
    return record
  end
  local request = pending_request(pending)
  if request and may_answer(message, request) then
    record.request, record.time, request.answered_in = request, frame.now - request.sent, frame.number
    pending[request.link] = nil
  end
  return record
end

local function class_of(message)
  local class = type(message.error) == "table" and message.error.class
  return type(class) == "string" and class or "no class"
end

local function sentence_of_message(message, record)
  if type(message.execute) == "string" then return title_of(message) end
  local title, took = "", ""
  if record.request then title, took = record.request.title, format(" (%s)", duration(record.time)) end
  if message.error then
    local desc = type(message.error) == "table" and message.error.desc
    local why = class_of(message) .. (type(desc) == "string" and ", " .. desc or "")
    return title .. (title == "" and "" or " ") .. "FAILED: " .. told(why) .. took
  end
  local value = message["return"]
  if not value then return "neither a request nor an answer" end
  return title .. (title == "" and "" or ": ") .. "returned" .. (type(value) == "string" and " " .. told(value) or "") .. took
end

-- -- Lines.

local function branch_of(root, first, length, text)
  return root:add(agent, range(first, length), "vmwire guest agent, " .. text)
end

local function show_marks(root, first, length)
  local text = length == 1 and "resynchronisation" or "resynchronisation " .. length .. " times"
  branch_of(root, first, length, text):add(shown.resync, range(first, length))
  return text
end

-- What is no JSON is shown as it is.
local function show_other(root, first, length, why)
  local text = count(length, "byte") .. (length == 1 and " that is no JSON" or " that are no JSON")
  local tree = branch_of(root, first, length, text)
  tree:add(shown.other, range(first, length))
  tree:add_proto_expert_info(no_json, why)
  return text
end

local function show_message(root, pinfo, first, length, message)
  local record = record_of_message(message, first)
  local text = sentence_of_message(message, record)
  local tree = branch_of(root, first, length, text)
  local function generated(field, value) tree:add(field, value):set_generated() end
  if type(message.execute) == "string" then tree:add(shown.execute, range(first, length), message.execute) end
  if record.answered_in then generated(shown.response_in, record.answered_in) end
  if record.request then
    generated(shown.request_in, record.request.frame)
    generated(shown.time, nstime(record.time))
  end
  if message.error then
    tree:add(shown.error, range(first, length), class_of(message))
    tree:add_proto_expert_info(failed, text)
  end
  -- Whatever it thinks of the bytes, the lines behind them are to be shown.
  pcall(Dissector.call, Dissector.get("json"), range(first, length):tvb(), pinfo, tree)
  return text
end

local function show_line(root, pinfo, first, length)
  local ok, message = pcall(read_line, sub(raw, first, first + length - 1))
  if not ok then
    if type(message) ~= "table" then error(message, 0) end
    return show_other(root, first, length, message.refused)
  end
  return show_message(root, pinfo, first, length, type(message) == "table" and message or NOTHING)
end

-- Takes bytes FF, or a line, off `raw` at `first`. Answers where the next one begins, nil when more is needed, and a sentence.
local function agent_step(first, pinfo, root)
  local _, last = find(raw, "^\255+", first)
  if last then return last + 1, show_marks(root, first, last - first + 1) end
  -- Nobody goes on with a line behind FF.
  local behind = math.min(find(raw, "\n", first, true) or #raw + 1, find(raw, "\255", first, true) or #raw + 1)
  local more = pinfo.can_desegment > 0 and packet_tvb:reported_len() == packet_tvb:len()
  if behind > #raw and more and behind - first < LINE_BYTES_MAX then
    pinfo.desegment_offset = first - 1
    pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
    return nil
  end
  return behind, show_line(root, pinfo, first, behind - first)
end

local function dissect_agent(tvb, pinfo, root)
  begin_frame(pinfo)
  packet_tvb, raw = tvb, tvb:raw()
  local length, said, sentences = #raw, nil, 0
  local first, text = behind_blanks(raw, 1), nil
  while first and first <= length do
    first, text = agent_step(first, pinfo, root)
    if text then
      sentences = sentences + 1
      if sentences == 1 then said = text elseif sentences <= SENTENCES_MAX then said = said .. " | " .. text end
    end
    first = first and behind_blanks(raw, first)
  end
  -- After the lines, for the dissector of JSON speaks up here as well.
  pinfo.cols.protocol = "vmwire agent"
  if said then tell(pinfo.cols, said, sentences) end
  return length
end

agent.dissector = dissect_agent

local function is_guest(address)
  return GUESTS_FIRST <= address and address <= GUESTS_LAST
end

-- Others have this port, too: what is not between those ends, or begins with what no line begins with, is given back.
function agent_door.dissector(tvb, pinfo, root)
  if not (is_guest(pinfo.src) or is_guest(pinfo.dst)) or not find(tvb:raw(0, 1), "[{\255 \t\r\n]") then return 0 end
  pinfo.conversation = agent
  return dissect_agent(tvb, pinfo, root)
end

end

-- ==== 11. Registration ===============================================================================================

vmwire.fields = registered
vmwire.experts = experts

vmwire.prefs.ports = Pref.range("Ports", "16515", "where daemons listen, with TLS or without; others are found by the magic", 65535)
vmwire.prefs.statistics = Pref.bool("Print statistics at the end", false, "tshark alone: a row for each procedure")

-- A port of ours may speak either: a record of TLS begins with its type, 20 to 24, and the major version 3.
local door = Proto("vmwire_port", "vmwire or TLS, as the first bytes tell")

function door.dissector(tvb, pinfo, root)
  local first, second = byte(tvb:raw(0, math.min(tvb:len(), 2)), 1, 2)
  if first >= 20 and first <= 24 and (second == nil or second == 3) then
    return Dissector.get("tls"):call(tvb, pinfo, root)
  end
  pinfo.conversation = vmwire
  return dissect(tvb, pinfo, root)
end

local tcp, tls = DissectorTable.get("tcp.port"), DissectorTable.get("tls.port")

-- Takes up the ports of the preference, like "16515,17000-17010", in place of those from before.
local function take_up_ports()
  for port in pairs(ports) do
    tcp:remove(port, door)
    tls:remove(port, vmwire)
  end
  ports = {}
  for first, last in tostring(vmwire.prefs.ports):gmatch("(%d+)%-?(%d*)") do
    for port = tonumber(first), tonumber(last) or tonumber(first) do
      tcp:add(port, door)
      tls:add(port, vmwire)
      ports[port] = true
    end
  end
  if not ports[AGENT_PORT] then tcp:add(AGENT_PORT, agent_door) end
end

function vmwire.prefs_changed()
  take_up_ports()
  if vmwire.prefs.statistics then print_statistics_at_the_end() end
end

-- Four bytes are enough to know it, and what follows on this connection is ours as well.
local function is_vmwire(tvb, pinfo, root)
  if tvb:len() < 4 or tvb:raw(0, 4) ~= MAGIC then return false end
  pinfo.conversation = vmwire
  dissect(tvb, pinfo, root)
  return true
end

take_up_ports()
tcp:add_for_decode_as(vmwire)
tcp:add_for_decode_as(agent)
tls:add_for_decode_as(vmwire)
DissectorTable.get("tls.alpn"):add("vmwire", vmwire)
DissectorTable.get("tls.alpn"):add("vmwire-enroll", vmwire)
vmwire:register_heuristic("tcp", is_vmwire)
-- Inside of TLS the conversation stays that of TLS, or its next record would be taken for ours.
vmwire:register_heuristic("tls", function(tvb, pinfo, root)
  if tvb:len() < 4 or tvb:raw(0, 4) ~= MAGIC then return false end
  dissect(tvb, pinfo, root)
  return true
end)
if gui_enabled() then
  register_menu("vmwire: service response times", show_statistics, MENU_STAT_UNSORTED)
end
