-- What the scripts that read a task begin with.

-- What is not there, or is of a wrong type, is nil; any other error, such as a missing right, ends
-- the script and is its answer.
local function read(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if reply.err:find('WRONGTYPE', 1, true) or reply.err:find('no such key', 1, true) then
    return false
  end
  -- Some versions of Redis do not say which command it was. Not as `err`: pcall looks into that.
  error({ failed = reply.err .. ' (' .. ... .. ')' })
end

-- The facts of a stream, and its last entry; nil where there is no stream.
local function facts(stream)
  local info = read('XINFO', 'STREAM', stream)
  if not info then return false end
  return numbers(info)
end

-- The turn of a thread, if it has any tasks, and what the names of its keys begin with.
local function newest_task(thread)
  local task_id = turn_of(read, thread, ARGV[1])
  return task_id, task_id and (ARGV[1] .. ':' .. task_id) or thread
end

-- Whether a thread without a task and without a status is none.
local function is_none(thread, task_id, status)
  return not task_id and not status and read('EXISTS', thread .. ':metadata') == 0
end

-- What the work gives, or what it failed with.
local function answer(work)
  local done, result = pcall(work)
  if done then return result end
  if type(result) == 'table' and result.failed then return redis.error_reply(result.failed) end
  error(result)
end

