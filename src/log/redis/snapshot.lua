-- State, stream facts and entries of one task, all of one instant. Reads only.
--
-- KEYS[1]  the stream
-- KEYS[2]  the thread's keys without their last part: {prefix}:thread:{thread_id}
-- ARGV[1]  the tasks' keys without their last parts: {prefix}:task
-- ARGV[2]  how many of the newest updates; -1 for all of them, empty for no state at all
-- ARGV[3]  how many of the stream's newest entries
-- ARGV[4]  the id that the page begins with, inclusive; empty for no page
-- ARGV[5]  at most that many entries in the page
--
-- Answers {time, facts, state, newest, page}. What is not there, or is of a wrong type, is nil.

local function read(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then return false end
  return reply
end

local function hash(key)
  return read('HGETALL', key) or {}
end

local function facts()
  local info = read('XINFO', 'STREAM', KEYS[1])
  if not info then return false end
  local by_name = {}
  for i = 1, #info, 2 do by_name[info[i]] = info[i + 1] end
  local first, last = by_name['first-entry'], by_name['last-entry']
  return {
    by_name['length'],
    by_name['last-generated-id'],
    first and first[1] or false,
    last and last[1] or false,
    by_name['entries-added'] or false,
    by_name['max-deleted-entry-id'] or false,
  }
end

local function state(updates_max)
  local thread = KEYS[2]
  local newest = read('ZREVRANGE', thread .. ':tasks', 0, 0)
  local task_id = newest and newest[1] or false
  local base = task_id and (ARGV[1] .. ':' .. task_id) or thread
  local status = read('GET', base .. ':status')
  if not task_id and not status and redis.call('EXISTS', thread .. ':metadata') == 0 then
    return false
  end
  local updates = {}
  if updates_max ~= 0 then
    if task_id then
      updates = read('LRANGE', base .. ':updates', updates_max < 0 and 0 or -updates_max, -1)
    else
      updates = read('LRANGE', base .. ':updates', 0, updates_max < 0 and -1 or updates_max - 1)
    end
  end
  return {
    task_id,
    status,
    updates or {},
    read('LLEN', base .. ':updates') or 0,
    read('GET', base .. ':result'),
    read('GET', base .. ':error'),
    hash(thread .. ':metadata'),
    hash(thread .. ':context'),
    task_id and hash(base .. ':metadata') or {},
  }
end

local newest, page = {}, {}
if tonumber(ARGV[3]) > 0 then
  newest = read('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[3]) or {}
end
if ARGV[4] ~= '' then
  page = read('XRANGE', KEYS[1], ARGV[4], '+', 'COUNT', ARGV[5]) or {}
end
local now = redis.call('TIME')
return {
  now[1] .. string.format('%06d', now[2]),
  facts(),
  ARGV[2] ~= '' and state(tonumber(ARGV[2])),
  newest,
  page,
}
