-- State, stream facts and entries of one task, all of one instant. Reads only.
--
-- KEYS[1]  the stream
-- KEYS[2]  the thread's keys without their last part: {prefix}:thread:{thread_id}
-- ARGV[1]  the tasks' keys without their last parts: {prefix}:task
-- ARGV[2]  how many of the newest updates; -1 for all of them, with the thread's metadata and context;
--          empty for no state at all
-- ARGV[3]  how many of the stream's newest entries
-- ARGV[4]  the id that the page begins with, inclusive; empty for no page
-- ARGV[5]  at most that many entries in the page
-- ARGV[6]  about that many bytes in the page
-- ARGV[7]  at most about that many bytes in all; empty where it does not matter
-- ARGV[8]  an id of which is told whether it has an entry; empty for none
-- ARGV[9]  of a source that is not the agent's, what KEYS[2] is: 'string' or 'hash', which hold the
--          status, or 'none'; empty for the agent's
-- ARGV[10] the field of the hash
--
-- Answers {time, facts, state, newest, page, 1 where the stream goes on behind the page, 1 where the id
-- has an entry}; nil where it would be too many bytes.

local NEWEST_BYTES_MAX = 262144
local ENTRIES_STEP_MAX = 32 -- in one command: the next ones may be of any size
local UPDATES_STEP = 4      -- likewise; where all are read,
local ALL_UPDATES_STEP = 64 -- it is known how large they are together
local FIELD_BYTES = 32      -- what a field costs beside its bytes
local TOO_LARGE = {}

-- What has been read, in bytes.
local weight, weight_max = 0, tonumber(ARGV[7])

local function weigh(bytes)
  weight = weight + bytes
  if weight_max and weight > weight_max then error(TOO_LARGE) end
  return bytes
end

local function length_of(strings)
  local bytes = 0
  for _, text in ipairs(strings) do bytes = bytes + #text end
  return bytes
end

local function weigh_all(strings)
  return weigh(length_of(strings))
end

-- Entries from an id on, at most `count`, and no more once there are `bytes_max`, but one and the
-- next. Nobody knows how large the next ones are: each step is judged by those before it, and what
-- it brought beyond that is left out. The first one may be known.
local function entries(command, from, to, count, bytes_max, first)
  local found, bytes = {}, 0
  if first then
    found[1], from = first, first[1]
    bytes = length_of(first[2])
  end
  local step = math.min(count - #found, 2)
  while #found < count and bytes < bytes_max do
    -- The last one is read again, as old versions of Redis have no exclusive ranges.
    local again = #found > 0 and 1 or 0
    local reply = read(command, KEYS[1], from, to, 'COUNT', step + again) or {}
    for i = 1 + again, #reply do
      if #found >= 2 and bytes >= bytes_max then return found, true end
      found[#found + 1] = reply[i]
      bytes = bytes + weigh_all(reply[i][2])
    end
    if #reply < step + again then return found, false end
    from = found[#found][1]
    local room = (bytes_max - bytes) / math.max(1, bytes / #found)
    step = math.min(math.floor(room), 8 * #found, count - #found, ENTRIES_STEP_MAX)
    step = math.max(1, step)
  end
  return found, true
end

local function hash(key)
  weigh((read('HLEN', key) or 0) * FIELD_BYTES)
  local pairs_read = read('HGETALL', key) or {}
  weigh_all(pairs_read)
  return pairs_read
end

local function text(key)
  weigh(read('STRLEN', key) or 0)
  return read('GET', key)
end

-- The newest updates, in the order of their list: `side` is where the newest ones are. They are
-- weighed as they come.
local function newest_updates(key, count, side, step)
  local found = {}
  for at = 0, count - 1, step do
    local last = math.min(at + step, count) - 1
    local part
    if side == 'left' then
      part = read('LRANGE', key, at, last) or {}
    else
      part = read('LRANGE', key, -last - 1, -at - 1) or {}
    end
    weigh_all(part)
    if #part == 0 then break end
    found[#found + 1] = part
  end
  local updates = {}
  for i = 1, #found do
    local part = side == 'left' and found[i] or found[#found + 1 - i]
    for _, update in ipairs(part) do updates[#updates + 1] = update end
  end
  return updates
end

local function state(updates_max)
  local thread = KEYS[2]
  local task_id, base = newest_task(thread)
  local status = text(base .. ':status')
  if is_none(thread, task_id, status) then return false end
  local updates_total = read('LLEN', base .. ':updates') or 0
  local all = updates_max < 0
  local count = all and updates_total or math.min(updates_max, updates_total)
  local side, step = task_id and 'right' or 'left', all and ALL_UPDATES_STEP or UPDATES_STEP
  return {
    task_id,
    status,
    newest_updates(base .. ':updates', count, side, step),
    updates_total,
    text(base .. ':result'),
    text(base .. ':error'),
    all and hash(thread .. ':metadata') or {},
    all and hash(thread .. ':context') or {},
    task_id and hash(base .. ':metadata') or {},
  }
end

-- The state of a task of another source: its status is all that there is of it.
local function status()
  -- Not nil: an answer ends where there is one.
  local found = false
  if ARGV[9] == 'string' then
    found = text(KEYS[2])
  elseif ARGV[9] == 'hash' then
    found = read('HGET', KEYS[2], ARGV[10])
    weigh(found and #found or 0)
  end
  return found and { false, found, {}, 0, false, false, {}, {}, {} }
end

local function state_of(updates_max)
  if ARGV[9] ~= '' then return status() end
  return state(updates_max)
end

local function snapshot()
  local now = read('TIME')
  local stream, last = facts(KEYS[1])
  -- Who reads this stream will read it.
  if last then weigh_all(last[2]) end
  local newest, page, goes_on = {}, {}, false
  local newest_max = tonumber(ARGV[3])
  if newest_max > 0 then
    newest = entries('XREVRANGE', '+', '-', newest_max, NEWEST_BYTES_MAX, last)
  end
  if ARGV[4] ~= '' then
    page, goes_on = entries('XRANGE', ARGV[4], '+', tonumber(ARGV[5]), tonumber(ARGV[6]))
  end
  return {
    now[1] .. string.format('%06d', now[2]),
    stream,
    ARGV[2] ~= '' and state_of(tonumber(ARGV[2])),
    newest,
    page,
    goes_on and 1 or 0,
    ARGV[8] ~= '' and #(read('XRANGE', KEYS[1], ARGV[8], ARGV[8]) or {}) or 0,
  }
end

return answer(function()
  local fits, result = pcall(snapshot)
  if fits then return result end
  if result == TOO_LARGE then return false end
  error(result)
end)
