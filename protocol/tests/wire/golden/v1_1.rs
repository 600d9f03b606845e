//! The bytes that 1.1 added, frozen: VM_LIST.
//!
//! **To whoever breaks this test:** read the note at the top of `v1_0.rs`; it holds here as well.

use vmwire_protocol::message::*;

use super::{Golden, cursor, list, text};

/// What a client of 1.1 may send besides.
pub(super) fn client() -> Vec<Golden<ClientData>> {
    let filter = |field, comparison, value| VmFilter { field, comparison, value };
    vec![Golden {
        packet: ClientData::VmList(VmListCall {
            fields: list([1, 3, 14, 11]),
            filters: list([
                filter(3, 1, VmCell::Number(3)),
                filter(1, 3, VmCell::Text(text("web*"))),
                filter(16, 1, VmCell::Items(list([text("org.vmwire.0")]))),
                filter(11, 2, VmCell::Absent),
            ]),
            after: text("db1"),
            rows_max: 100,
        }),
        rows: "
            00000105 | VM_LIST
            00000004 | fields, count: 4
            00000001 | fields[0]: 1
            00000003 | fields[1]: 3
            0000000e | fields[2]: 14
            0000000b | fields[3]: 11
            00000004 | filters, count: 4
            00000003 | filters[0].field: 3
            00000001 | filters[0].comparison: 1
            00000001 | filters[0].value, CELL_NUMBER
            00000000 00000003 | filters[0].value: 3
            00000001 | filters[1].field: 1
            00000003 | filters[1].comparison: 3
            00000002 | filters[1].value, CELL_STRING
            00000004 | filters[1].value, bytes: 4
            7765622a | filters[1].value: 'web*'
            00000010 | filters[2].field: 16
            00000001 | filters[2].comparison: 1
            00000003 | filters[2].value, CELL_LIST
            00000001 | filters[2].value, count: 1
            0000000c | filters[2].value[0], bytes: 12
            6f72672e 766d7769 72652e30 | filters[2].value[0]: 'org.vmwire.0'
            0000000b | filters[3].field: 11
            00000002 | filters[3].comparison: 2
            00000000 | filters[3].value, CELL_ABSENT
            00000003 | after, bytes: 3
            64623100 | after: 'db1'
            00000064 | rows_max: 100
        ",
    }]
}

/// What a server of 1.1 may send besides.
pub(super) fn server() -> Vec<Golden<ServerData>> {
    let row = |cells: [VmCell; 4]| VmRow { cells: list(cells) };
    vec![Golden {
        packet: ServerData::VmList(VmListAnswer {
            cursor: cursor(42),
            rows: list([
                row([
                    VmCell::Text(text("web1")),
                    VmCell::Number(3),
                    VmCell::Items(list([text("/a"), text("/bc")])),
                    VmCell::Number(0x1_0000_1267),
                ]),
                row([VmCell::Text(text("web2")), VmCell::Number(1), VmCell::Items(list([])), VmCell::Absent]),
            ]),
            next: text("web2"),
        }),
        rows: "
            00000105 | VM_LIST
            00010203 04050607 08090a0b 0c0d0e0f | cursor.epoch
            00000000 0000002a | cursor.sequence: 42
            00000002 | rows, count: 2
            00000004 | rows[0].cells, count: 4
            00000002 | rows[0].cells[0], CELL_STRING
            00000004 | rows[0].cells[0], bytes: 4
            77656231 | rows[0].cells[0]: 'web1'
            00000001 | rows[0].cells[1], CELL_NUMBER
            00000000 00000003 | rows[0].cells[1]: 3
            00000003 | rows[0].cells[2], CELL_LIST
            00000002 | rows[0].cells[2], count: 2
            00000002 | rows[0].cells[2][0], bytes: 2
            2f610000 | rows[0].cells[2][0]: '/a'
            00000003 | rows[0].cells[2][1], bytes: 3
            2f626300 | rows[0].cells[2][1]: '/bc'
            00000001 | rows[0].cells[3], CELL_NUMBER
            00000001 00001267 | rows[0].cells[3]: 4294972007
            00000004 | rows[1].cells, count: 4
            00000002 | rows[1].cells[0], CELL_STRING
            00000004 | rows[1].cells[0], bytes: 4
            77656232 | rows[1].cells[0]: 'web2'
            00000001 | rows[1].cells[1], CELL_NUMBER
            00000000 00000001 | rows[1].cells[1]: 1
            00000003 | rows[1].cells[2], CELL_LIST
            00000000 | rows[1].cells[2], count: 0
            00000000 | rows[1].cells[3], CELL_ABSENT
            00000004 | next, bytes: 4
            77656232 | next: 'web2'
        ",
    }]
}
