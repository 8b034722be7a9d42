local harp = Proto("harp", "Home Agent Reliability Protocol")

-- The fixed parts of RFC 6275 §6.1.1: a Mobility Header has 8 octets and Header Len times 8 more.
local MH_UNIT = 8
local MH_TYPE_AT = 2

---------------------------------------------------------------------------------------------------
-- Preferences: every code point that IANA never assigned.

for _, row in ipairs(T.code_points) do
    harp.prefs[row.name] = Pref.uint(row.label, row.default, row.doc)
end

-- Option rows by Option Type, and address kinds by Option-Code, under the preferences; nil after a
-- change.
local by_number, kinds

local function read_preferences()
    by_number, kinds = {}, {}
    for _, row in ipairs(T.options) do
        by_number[row.number or harp.prefs[row.code_point]] = row
    end
    for _, row in ipairs(T.address_kinds) do
        kinds[harp.prefs[row.code_point]] = row
    end
end

function harp.prefs_changed()
    by_number, kinds = nil, nil
end

---------------------------------------------------------------------------------------------------
-- Fields.

local UNSIGNED = {
    [1] = ProtoField.uint8, [2] = ProtoField.uint16, [4] = ProtoField.uint32,
    [8] = ProtoField.uint64,
}

local function proto_field(row)
    local filter, unsigned = "harp." .. row.filter, UNSIGNED[row.scale and 4 or row.octets]
    if row.view == "ADDRESS" then
        return ProtoField.ipv6(filter, row.label)
    elseif row.view == "OCTETS" then
        return ProtoField.bytes(filter, row.label)
    elseif row.view == "TIME" then
        return ProtoField.absolute_time(filter, row.label, base.UTC)
    elseif row.view == "HARP_TYPE" then
        return unsigned(filter, row.label, base.DEC, T.harp_types)
    elseif row.view == "STATUS" then
        return unsigned(filter, row.label, base.DEC, T.statuses)
    elseif row.view == "HEX" or row.flags then
        return unsigned(filter, row.label, base.HEX)
    elseif row.unit then
        return unsigned(filter, row.label, base.UNIT_STRING, { " " .. row.unit })
    end
    return unsigned(filter, row.label, base.DEC)
end

local proto_fields = {}

local function register(rows)
    for _, row in ipairs(rows) do
        row.field = proto_field(row)
        table.insert(proto_fields, row.field)
        for _, flag in ipairs(row.flags or {}) do
            local name = "harp." .. row.filter .. "." .. flag.filter
            flag.field = ProtoField.bool(name, flag.doc, 8 * row.octets, nil, flag.mask)
            table.insert(proto_fields, flag.field)
        end
    end
end

local function extra(field)
    table.insert(proto_fields, field)
    return field
end

register(T.mh_fields)
register(T.harp_fields)
for _, option in ipairs(T.options) do
    register(option.fields)
end

local CHECKSUM_BAD, CHECKSUM_GOOD, CHECKSUM_UNVERIFIED = 0, 1, 2
local CHECKSUM_STATUSES = {
    [CHECKSUM_BAD] = "Bad", [CHECKSUM_GOOD] = "Good", [CHECKSUM_UNVERIFIED] = "Unverified",
}
local f_checksum_status = extra(
    ProtoField.uint8("harp.checksum.status", "Checksum Status", base.DEC, CHECKSUM_STATUSES)
)
local f_source = extra(ProtoField.ipv6("harp.checksum.source", "Pseudo-header Source"))
local f_destination = extra(
    ProtoField.ipv6("harp.checksum.destination", "Pseudo-header Destination")
)
local f_option = extra(ProtoField.uint8("harp.option", "Option", base.DEC))
local f_length = extra(ProtoField.uint8("harp.option.length", "Length", base.DEC))
local f_data = extra(ProtoField.bytes("harp.option.data", "Data"))
local f_padding = extra(ProtoField.bytes("harp.padding", "Padding"))
local f_binding = extra(ProtoField.none("harp.binding", "Binding"))
local f_reason = extra(ProtoField.string("harp.reason", "Dropped by a receiver as"))
harp.fields = proto_fields

---------------------------------------------------------------------------------------------------
-- Experts: one for each reason that a message shows by itself, under the reason's name.

local GROUPS = {
    [T.truncated] = expert.group.MALFORMED,
    [T.bad_length] = expert.group.MALFORMED,
    [T.bad_option] = expert.group.MALFORMED,
    [T.bad_checksum] = expert.group.CHECKSUM,
}
local experts, expert_list = {}, {}
for name, doc in pairs(T.reasons) do
    -- A hop limit is a fault only where the receiver is configured to demand 255.
    local severity = name == T.bad_hop_limit and expert.severity.WARN or expert.severity.ERROR
    local group = GROUPS[name] or expert.group.PROTOCOL
    experts[name] = ProtoExpert.new("harp." .. name, doc, group, severity)
    table.insert(expert_list, experts[name])
end
experts.cut_short = ProtoExpert.new(
    "harp.cut_short", "The capture ends within the message", expert.group.UNDECODED,
    expert.severity.NOTE
)
table.insert(expert_list, experts.cut_short)
harp.experts = expert_list

-- The first fault found is the reason by which a receiver drops the message; so callers look for
-- faults in the order of harp.md §3.
local function fault(message, reason, item, detail)
    item:add_proto_expert_info(experts[reason], reason .. ": " .. detail)
    message.reason = message.reason or reason
end

---------------------------------------------------------------------------------------------------
-- Checksum (RFC 6275 §6.1.1).

local ip_source, ip_destination = Field.new("ipv6.src"), Field.new("ipv6.dst")
local ip_hop_limit = Field.new("ipv6.hlim")
local home_address = Field.new("ipv6.opt.mipv6.home_address")
local routed_address = Field.new("ipv6.routing.mipv6.home_address")
local segments_left = Field.new("ipv6.routing.segleft")

-- The last of a field's occurrences from octet `from` on: what stands in front of it belongs to an
-- outer packet.
local function last(extractor, from)
    local found
    for _, info in ipairs({ extractor() }) do
        if info.offset >= from then
            found = info
        end
    end
    return found
end

-- Source and destination of the pseudo-header as TvbRanges; nil where the packet is not IPv6.
local function pseudo_addresses()
    local source = last(ip_source, 0)
    if not source then
        return nil
    end
    local from, destination = source.offset, nil
    for _, info in ipairs({ ip_destination() }) do
        if info.offset == from + 16 then
            destination = info
        end
    end
    local home, routed = last(home_address, from), last(routed_address, from)
    if routed then
        for _, left in ipairs({ segments_left() }) do
            -- Segments Left is octet 3 of the type 2 routing header, the address octet 8 (§6.4.1).
            if left.offset == routed.offset - 5 and left.value == 1 then
                destination = routed
            end
        end
    end
    if not destination then
        return nil
    end
    return (home or source).range, destination.range
end

local function sum_of_words(range)
    local octets, sum = range:bytes():raw(), 0
    for at = 1, #octets - 1, 2 do
        local high, low = string.byte(octets, at, at + 1)
        sum = sum + 256 * high + low
    end
    return sum
end

local function judge_checksum(message, item)
    local source, destination = pseudo_addresses()
    local status = CHECKSUM_UNVERIFIED
    if source and message.said == message.shown then
        local sum = sum_of_words(source) + sum_of_words(destination) + message.said
            + T.next_header + sum_of_words(message.tvb(0, message.said))
        status = sum % 0xFFFF == 0 and CHECKSUM_GOOD or CHECKSUM_BAD
    end
    message.tree:add(f_checksum_status, status):set_generated()
    if source then
        message.tree:add(f_source, source):set_generated()
        message.tree:add(f_destination, destination):set_generated()
    end
    if status == CHECKSUM_BAD then
        fault(message, T.bad_checksum, item, "with the pseudo-header's addresses below")
    end
end

---------------------------------------------------------------------------------------------------
-- One field.

local MAX_HEX_OCTETS = 16

local function text_of(row, range)
    if row.view == "ADDRESS" then
        return tostring(range:ipv6())
    elseif row.view == "OCTETS" then
        local hex = tostring(range(0, math.min(range:len(), MAX_HEX_OCTETS)):bytes()):lower()
        return range:len() > MAX_HEX_OCTETS and hex .. "..." or hex
    elseif row.view == "OPTION_CODE" then
        local kind = kinds[range:uint()]
        return kind and kind.label or "unknown kind"
    elseif row.octets == 8 then
        return "0x" .. range:uint64():tohex(16)
    elseif row.flags or row.view == "HEX" then
        return string.format("0x%0" .. 2 * row.octets .. "x", range:uint())
    end
    local value = range:uint() * (row.scale or 1)
    return row.unit and value .. " " .. row.unit or tostring(value)
end

local function add_field(tree, row, range)
    local item
    if row.view == "TIME" then
        item = tree:add_packet_field(row.field, range, ENC_TIME_NTP)
    elseif row.scale then
        item = tree:add(row.field, range, range:uint() * row.scale)
    else
        item = tree:add(row.field, range)
    end
    if row.view == "OPTION_CODE" then
        item:append_text(" (" .. text_of(row, range) .. ")")
    end
    for _, flag in ipairs(row.flags or {}) do
        item:add(flag.field, range)
    end
    return item
end

-- Fields of a fixed layout, as far as the message reaches; returns items and values by name.
local function add_fields(tree, rows, tvb, stop)
    local items, values = {}, {}
    for _, row in ipairs(rows) do
        if row.at + row.octets <= stop then
            local range = tvb(row.at, row.octets)
            items[row.name], values[row.name] = add_field(tree, row, range), range:uint()
        end
    end
    return items, values
end

---------------------------------------------------------------------------------------------------
-- Options.

local function add_padding(message, at, octets)
    message.tree:add(f_padding, message.tvb(at, octets))
end

-- What is wrong with the content of an option whose length is right; nil if nothing is.
local function content_fault(row, data, is_last)
    if row.name == T.names.ip_address then
        if kinds[data(0, 1):uint()] and data(1, 1):uint() ~= T.address_prefix_length then
            return "Prefix Length is not " .. T.address_prefix_length
        end
    elseif row.name == T.names.prefix then
        if data(1, 1):uint() > 128 then
            return "Prefix Length is above 128"
        end
    elseif row.name == T.names.authentication and data(0, 1):uint() == harp.prefs.auth_subtype then
        if data:len() ~= T.ha_ha_auth_length then
            return "HA-HA authentication of another length than " .. T.ha_ha_auth_length
        elseif not is_last then
            return "HA-HA authentication is not the last option"
        end
    end
end

local function allowed_length(row, length)
    for _, span in ipairs(row.lengths) do
        if span[1] <= length and length <= span[2] then
            return true
        end
    end
    return false
end

-- The fields of an option under its item; returns its content in words.
local function add_option_fields(item, row, data)
    local words = {}
    for _, field in ipairs(row.fields) do
        local octets = field.octets > 0 and field.octets or data:len() - field.at
        if octets > 0 then
            local range = data(field.at, octets)
            local shown = add_field(item, field, range)
            if field.view ~= "TIME" then
                local text = text_of(field, range)
                table.insert(words, #row.fields > 1 and field.label .. " " .. text or text)
            else
                table.insert(words, shown.text:match(": (.*)") or "")
            end
        end
    end
    return table.concat(words, ", ")
end

-- Notes what the rules about mandatory options ask for.
local function remember(message, row, data, of_binding)
    if row then
        message.seen[row.name] = data
        if row.name == T.names.ip_address and kinds[data(0, 1):uint()] then
            message.seen[kinds[data(0, 1):uint()].code_point] = true
        end
    end
    if of_binding and not message.binding then
        message.early = true
    end
end

local function describe_binding(message, row, data)
    local value = {}
    for _, field in ipairs(row.fields) do
        value[field.filter] = text_of(field, data(field.at, field.octets))
    end
    message.bindings = message.bindings + 1
    message.binding:set_text(string.format(
        "Binding: %s at %s, sequence %s, lifetime %s", value["binding.hoa"], value["binding.coa"],
        value["binding.seq"], value["binding.lifetime"]
    ))
end

local function dissect_option(message, at, kind, stop)
    local tvb, row = message.tvb, by_number[kind]
    local data = stop > at + 2 and tvb(at + 2, stop - at - 2) or nil
    local length = stop - at - 2
    local known = row and allowed_length(row, length)
    -- harp.md §2.2: unknown options behind a binding belong to it, ones of foreign kind too.
    local foreign = not row
        or (known and row.name == T.names.ip_address and not kinds[data(0, 1):uint()])
    local of_binding = foreign or row.of_binding
    local parent = message.tree
    if row and row.name == T.names.binding then
        message.binding, message.binding_at = message.tree:add(f_binding, tvb(at, stop - at)), at
        parent = message.binding
    elseif message.binding and of_binding then
        message.binding:set_len(stop - message.binding_at)
        parent = message.binding
    end
    local item = parent:add(f_option, tvb(at, stop - at), kind)
    local name = string.format("%s (%d)", row and row.name or "Unknown option", kind)
    item:set_text(name)
    item:add(f_length, tvb(at + 1, 1))
    if row and not known then
        fault(message, T.bad_option, item, row.name .. " of length " .. length)
        message.bad_option = true
    elseif known then
        local words = data and add_option_fields(item, row, data) or "empty"
        item:set_text(name .. ": " .. words)
        local wrong = data and content_fault(row, data, stop == message.said)
        if wrong then
            fault(message, T.bad_option, item, wrong)
            message.bad_option = true
        end
        if row.name == T.names.binding then
            describe_binding(message, row, data)
        elseif row.name == T.names.bid and parent ~= message.tree then
            message.binding:append_text(", BID " .. data(0, 2):uint())
        end
    elseif data then
        item:add(f_data, data)
    end
    remember(message, not foreign and known and row or nil, data or true, of_binding)
end

local function dissect_options(message, at)
    local tvb, stop = message.tvb, message.shown
    while at < stop do
        local kind = tvb(at, 1):uint()
        if kind == T.pad1 then
            add_padding(message, at, 1)
            at = at + 1
        else
            local body = at + 2
            local after = body <= stop and body + tvb(at + 1, 1):uint() or stop + 1
            if after > stop then
                local item = message.tree:add(f_data, tvb(at, stop - at))
                if message.shown == message.said then
                    fault(message, T.bad_option, item, "option " .. kind .. " runs past the end")
                end
                message.bad_option = true
                return
            end
            if kind == T.padn then
                add_padding(message, at, after - at)
            else
                dissect_option(message, at, kind, after)
            end
            at = after
        end
    end
end

-- The mandatory option that is missing, or the one misplaced (harp.md §2.1, §2.2, §2.3); nil if
-- none is.
local function missing(message, value)
    local seen, names, types = message.seen, T.names, T.type
    if seen[names.digest] and not seen[names.sync_position] then
        return names.digest .. " without " .. names.sync_position
    end
    local refused, log = value.status >= T.status_refused, value.index == T.log_index
    if value.type == types.SS_REQ then
        if not (seen[T.home_kind] or seen[names.prefix] or seen[names.vendor]) then
            return "nothing is asked for"
        end
    elseif value.type == types.SS_REP and not refused then
        local more = math.floor(value.flags / T.more_flag) % 2 == 1
        if (log or not more) and not seen[names.sync_position] then
            return names.sync_position .. " is missing"
        elseif log and message.early then
            return "an option of a binding before the first binding"
        elseif log and not message.binding then
            return names.binding .. " is missing"
        end
    elseif value.type == types.SS_ACK and log and not refused then
        if not seen[names.sync_position] then
            return names.sync_position .. " is missing"
        end
    elseif value.type == types.REKEY and not seen[T.home_agent_kind] then
        return "a home agent address is missing"
    end
end

---------------------------------------------------------------------------------------------------
-- The Info column.

local function has_type(row, type)
    for _, one in ipairs(row.types or {}) do
        if one == type then
            return true
        end
    end
    return false
end

local function letters(row, value)
    local found = {}
    for _, flag in ipairs(row.flags) do
        if math.floor(value / flag.mask) % 2 == 1 then
            table.insert(found, flag.letter)
        end
    end
    return "[" .. table.concat(found, " ") .. "]"
end

local function info_text(message, value)
    local words = { T.harp_types[value.type] or "Type " .. (value.type or "missing") }
    for _, row in ipairs(T.harp_fields) do
        local number = value[row.name]
        if number and (row.view ~= "HARP_TYPE" and not row.types or has_type(row, value.type)) then
            if row.flags then
                table.insert(words, letters(row, number))
            elseif row.view == "STATUS" then
                table.insert(words, "status=" .. (T.statuses[number] or number))
            else
                table.insert(words, row.filter .. "=" .. number .. (row.unit or ""))
            end
        end
    end
    local position = message.seen[T.names.sync_position]
    if position then
        table.insert(words, "position=" .. position(0, 4):uint() .. "/" .. position(4, 4):uint())
    end
    if message.bindings > 0 then
        table.insert(words, "bindings=" .. message.bindings)
    end
    if message.reason then
        table.insert(words, "[" .. message.reason .. "]")
    end
    return table.concat(words, " ")
end

---------------------------------------------------------------------------------------------------
-- The message: the rules on receipt that need nothing but the message, in the order of harp.md §3.

local function judge_header(message, item, value, reported)
    if reported < MH_UNIT then
        fault(message, T.truncated, message.tree, "fewer than 8 octets")
    elseif message.said > reported then
        fault(message, T.bad_length, item.header_len,
            message.said .. " octets, the payload has " .. reported)
    end
    if item.checksum then
        judge_checksum(message, item.checksum)
    end
    if value.payload_proto ~= T.no_next_header then
        fault(message, T.bad_payload_proto, item.payload_proto, "not " .. T.no_next_header)
    end
    if value.header_len < T.min_header_len then
        fault(message, T.bad_length, item.header_len, "below " .. T.min_header_len)
    end
end

local function judge_fields(message, item, value)
    if value.type and not T.harp_types[value.type] then
        fault(message, T.unknown_harp_type, item.type, "Type " .. value.type)
    end
    if value.sequence == 0 then
        fault(message, T.bad_sequence, item.sequence, "Sequence # is 0")
    end
end

local function judge_hop_limit(message)
    local limit = last(ip_hop_limit, 0)
    if limit and limit.value ~= T.hop_limit then
        message.tree:add_proto_expert_info(
            experts[T.bad_hop_limit], "hop limit " .. limit.value .. ", sent with " .. T.hop_limit
        )
    end
end

local function dissect(tvb, pinfo, root)
    if not by_number then
        read_preferences()
    end
    local said = MH_UNIT * (tvb(1, 1):uint() + 1)
    local message = {
        tvb = tvb, said = said, shown = math.min(said, tvb:len()), seen = {}, bindings = 0,
    }
    message.tree = root:add(harp, tvb(0, message.shown))
    pinfo.cols.protocol = "HARP"
    local item, value = add_fields(message.tree, T.mh_fields, tvb, message.shown)
    judge_header(message, item, value, tvb:reported_len())
    local own_item, own = add_fields(message.tree, T.harp_fields, tvb, message.shown)
    judge_fields(message, own_item, own)
    judge_hop_limit(message)
    if message.shown >= T.fixed_octets then
        dissect_options(message, T.fixed_octets)
        if message.shown == said and not message.bad_option then
            local detail = missing(message, own)
            if detail then
                fault(message, T.bad_option, message.tree, detail)
            end
        end
    end
    if tvb:len() < math.min(said, tvb:reported_len()) then
        message.tree:add_proto_expert_info(experts.cut_short)
    end
    if message.reason then
        message.tree:add(f_reason, message.reason):set_generated()
    end
    local info = info_text(message, own)
    message.tree:append_text(", " .. info)
    pinfo.cols.info = info
end

---------------------------------------------------------------------------------------------------
-- Next header 135 is taken over; every MH Type but HARP's goes on to Wireshark's own dissector.

local ip_protocols = DissectorTable.get("ip.proto")
local mobile_ipv6 = ip_protocols:get_dissector(T.next_header)

function harp.dissector(tvb, pinfo, root)
    if tvb:len() > MH_TYPE_AT and tvb(MH_TYPE_AT, 1):uint() == harp.prefs.mh_type_harp then
        dissect(tvb, pinfo, root)
        return tvb:len()
    end
    return mobile_ipv6:call(tvb, pinfo, root)
end

ip_protocols:add(T.next_header, harp)
