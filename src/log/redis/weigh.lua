-- How large the state of a task is, about, without reading it, and the facts of its stream.
--
-- KEYS[1]  the stream
-- KEYS[2]  the thread's keys without their last part: {prefix}:thread:{thread_id}
-- ARGV[1]  the tasks' keys without their last parts: {prefix}:task
--
-- Answers {time, facts, task id or nil, bytes of the updates, how many updates, bytes of the result,
-- of the error, of the three hashes, 1 where there is a status, 1 where there is metadata}. What is
-- not there, or is of a wrong type, is nil or 0; any other error, such as a missing right, is the
-- answer.

local function read(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if reply.err:find('WRONGTYPE', 1, true) or reply.err:find('no such key', 1, true) then
    return false
  end
  -- Not as `err`: pcall looks into that.
  error({ failed = reply.err .. ' (' .. ... .. ')' })
end

-- What a key takes in memory; 0 where that may not be asked.
local function memory(key)
  local reply = redis.pcall('MEMORY', 'USAGE', key)
  return type(reply) == 'number' and reply or 0
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

local function weigh()
  local now, stream, thread = read('TIME'), facts(), KEYS[2]
  local newest = read('ZREVRANGE', thread .. ':tasks', 0, 0)
  local task_id = newest and newest[1] or false
  local base = task_id and (ARGV[1] .. ':' .. task_id) or thread
  local updates = read('LLEN', base .. ':updates') or 0
  local updates_bytes = memory(base .. ':updates')
  if updates > 0 and updates_bytes == 0 then
    -- Supposes that all are like the newest.
    local update = read('LINDEX', base .. ':updates', task_id and -1 or 0)
    updates_bytes = update and updates * #update or 0
  end
  return {
    now[1] .. string.format('%06d', now[2]),
    stream,
    task_id,
    updates_bytes,
    updates,
    read('STRLEN', base .. ':result') or 0,
    read('STRLEN', base .. ':error') or 0,
    memory(thread .. ':metadata') + memory(thread .. ':context')
      + (task_id and memory(base .. ':metadata') or 0),
    read('EXISTS', base .. ':status'),
    read('EXISTS', thread .. ':metadata'),
  }
end

local answered, result = pcall(weigh)
if answered then return result end
if type(result) == 'table' and result.failed then return redis.error_reply(result.failed) end
error(result)
