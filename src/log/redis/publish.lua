-- Publishes to one task in one step: events to its stream, changes to its state, expiries renewed,
-- and the record of it, by which the same publication is known when it comes again.
-- Redis does not roll a script back. So everything that can refuse is asked before the first
-- write, and the first write is an XADD, which Redis refuses when it is out of memory or
-- read-only.
--
-- KEYS  1 stream, then of the thread layout: 2 status, 3 updates, 4 result, 5 error, 6 metadata,
--       7 context; 8 the thread's tasks, 9 the index of threads, 10 the publication's record
-- ARGV  1 "1" where the thread must exist, 2 stream_length_max, 3 expiry_seconds, 4 thread id,
--       5 key prefix, 6 "" or a time in milliseconds by the clock of Redis, after which nothing is
--       to be written; 7 a hash of what is published, 8 how long its record lives, in
--       milliseconds; 9 number of writes; then each write: its name, the number of its arguments,
--       the arguments; then each event up to the end: the number of its names and values, those
-- Returns the thread id and the id of the last event (the stream's last id where there was none),
-- now or as they were when it was published first; nil where the thread must exist and does not.
--
-- A thread whose `tasks` has a member is read in the task layout, so its state is written there.

local HASH_ARGUMENTS_MAX = 1000 -- per HSET: Lua cannot unpack a list of any length
local UPDATES_MAX = 100         -- in the thread layout
local INDEX_PRUNE_MAX = 2       -- per write to the index, which adds one row at most

local stream, tasks, index, record = KEYS[1], KEYS[8], KEYS[9], KEYS[10]
local must_exist, stream_length_max, expiry_seconds = ARGV[1] == '1', ARGV[2], ARGV[3]
local thread_id, prefix, deadline_ms = ARGV[4], ARGV[5], ARGV[6]
local content, record_ms = ARGV[7], ARGV[8]

-- Whether it was published before -------------------------------------------------------------

local recorded = redis.call('GET', record)
if recorded then
  local content_then, thread_then, id_then = recorded:match('^(%S+) (%S+) (%S+)$')
  if content_then ~= content then
    return redis.error_reply('KEYUSED another publication has this id')
  end
  return { thread_then, id_then }
end

-- What there is to write ----------------------------------------------------------------------

local position = 8
local function take()
  position = position + 1
  return ARGV[position]
end

local function take_list()
  local list = {}
  for i = 1, tonumber(take()) do list[i] = take() end
  return list
end

local function type_of(key)
  return redis.call('TYPE', key).ok
end

local writes, events = {}, {}
for i = 1, tonumber(take()) do
  writes[i] = { name = take(), arguments = take_list() }
end
while position < #ARGV do events[#events + 1] = take_list() end

-- Where it goes -------------------------------------------------------------------------------

local keys = {
  status = KEYS[2], updates = KEYS[3], result = KEYS[4], error = KEYS[5],
  metadata = KEYS[6], context = KEYS[7], index = index,
}
-- What is of another type is not there.
local function looked_at(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if reply.err:find('WRONGTYPE', 1, true) then return false end
  error(reply.err)
end

local task_id = turn_of(looked_at, tasks:sub(1, -#':tasks' - 1), prefix .. ':task')
if task_id then
  for _, name in ipairs({ 'status', 'updates', 'result', 'error', 'metadata' }) do
    keys[name] = prefix .. ':task:' .. task_id .. ':' .. name
  end
end

if must_exist and not task_id and redis.call('EXISTS', stream, KEYS[2], KEYS[6]) == 0 then
  return false
end

-- Whether it can be written -------------------------------------------------------------------

local TYPES = {
  status = 'string', updates = 'list', result = 'string', error = 'string',
  metadata = 'hash', context = 'hash',
}
local function refusal(key, wanted)
  local found = type_of(key)
  if found ~= 'none' and found ~= wanted then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. found .. ', not a ' .. wanted)
  end
end

local refused = refusal(stream, 'stream')
for _, write in ipairs(writes) do
  local wanted = TYPES[write.name]
  if wanted then refused = refused or refusal(keys[write.name], wanted) end
end
if refused then return refused end

-- Whoever sent this was told that Redis is out of reach, and that nothing was written.
if deadline_ms ~= '' then
  local now = redis.call('TIME')
  if now[1] * 1000 + now[2] / 1000 > tonumber(deadline_ms) then
    return redis.error_reply('LATE the publication came after its deadline')
  end
end

-- The task layout is another's: what has no expiry there is meant to stay.
local renewed = {}
for _, key in ipairs({ KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], tasks }) do
  renewed[key] = true
end
for name, key in pairs(keys) do
  if name ~= 'index' then renewed[key] = true end
end
for key in pairs(renewed) do
  if task_id and redis.call('TTL', key) == -1 then renewed[key] = false end
end

-- Events, then state --------------------------------------------------------------------------

local function torn(problem)
  return redis.error_reply('TORN only a part was written: ' .. problem)
end

local last_id
for number, event in ipairs(events) do
  last_id = redis.pcall('XADD', stream, 'MAXLEN', '~', stream_length_max, '*', unpack(event))
  -- As it is: some versions of Redis hide the error's code when it is raised from a script.
  if last_id.err then return number == 1 and last_id or torn(last_id.err) end
end

local function set(key, arguments)
  redis.call('SET', key, arguments[1])
end

local function set_fields(key, arguments)
  for first = 1, #arguments, HASH_ARGUMENTS_MAX do
    local last = math.min(first + HASH_ARGUMENTS_MAX - 1, #arguments)
    redis.call('HSET', key, unpack(arguments, first, last))
  end
end

local function add_update(key, arguments)
  if task_id then
    redis.call('RPUSH', key, arguments[1])
  else
    redis.call('LPUSH', key, arguments[1])
    redis.call('LTRIM', key, 0, UPDATES_MAX - 1)
  end
end

-- Rows of threads that expired go as new ones come, so the index does not grow for ever.
local function prune_index()
  for _, oldest in ipairs(redis.call('ZRANGE', index, 0, INDEX_PRUNE_MAX - 1)) do
    local head = prefix .. ':thread:' .. oldest .. ':'
    if redis.call('EXISTS', head .. 'status', head .. 'metadata', head .. 'tasks') == 0 then
      redis.call('ZREM', index, oldest)
    end
  end
end

local function set_index(_, arguments)
  -- A key of another type is no index. That keeps a task from the list, not from its viewers.
  local found = type_of(index)
  if found ~= 'none' and found ~= 'zset' then return end
  local seconds_left = redis.call('TTL', index)
  redis.call('ZADD', index, arguments[1], thread_id)
  prune_index()
  -- The index is shared: its expiry is set where it is new, else only ever put off.
  if seconds_left ~= -1 and seconds_left < tonumber(expiry_seconds) then
    redis.call('EXPIRE', index, expiry_seconds)
  end
end

local APPLY = {
  status = set, updates = add_update, result = set, error = set,
  metadata = set_fields, context = set_fields, index = set_index,
}

local function last_id_of_stream()
  if type_of(stream) == 'none' then return '0-0' end
  local facts = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then return facts[i + 1] end
  end
end

local begun, id = last_id ~= nil, last_id
local done, problem = pcall(function()
  for _, write in ipairs(writes) do
    APPLY[write.name](keys[write.name], write.arguments)
    begun = true
  end
  redis.call('EXPIRE', stream, expiry_seconds)
  for key, renew in pairs(renewed) do
    if renew then redis.call('EXPIRE', key, expiry_seconds) end
  end
  id = id or last_id_of_stream()
  redis.call('SET', record, content .. ' ' .. thread_id .. ' ' .. id, 'PX', record_ms)
end)
if done then return { thread_id, id } end
problem = problem.err or problem
-- A user may have the right to a part of this only. That must not look as if all was refused.
return begun and torn(problem) or redis.error_reply(problem)
