-- How large the state of a task is, about, without reading it, and the facts of its stream.
--
-- KEYS[1]  the stream
-- KEYS[2]  the thread's keys without their last part: {prefix}:thread:{thread_id}
-- ARGV[1]  the tasks' keys without their last parts: {prefix}:task
--
-- Answers {time, facts, task id or nil, bytes of the updates, how many updates, bytes of the result,
-- of the error, of the three hashes, 1 where there is a status, 1 where there is metadata}.

-- What a key takes in memory, about; 0 where that may not be asked.
local function memory(key)
  local reply = redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', 100)
  return type(reply) == 'number' and reply or 0
end

local function weigh()
  local now, stream, thread = read('TIME'), facts(KEYS[1]), KEYS[2]
  local task_id, base = newest_task(thread)
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

return answer(weigh)
