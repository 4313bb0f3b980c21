-- How large the state of a task is, about, without reading it.
--
-- KEYS[1]  the thread's keys without their last part: {prefix}:thread:{thread_id}
-- ARGV[1]  the tasks' keys without their last parts: {prefix}:task
--
-- Answers {task id or nil, bytes of the updates, how many updates, bytes of the result, of the
-- error, of the three hashes, 1 where there is a status, 1 where there is metadata}.

local function number(...)
  local reply = redis.pcall(...)
  return type(reply) == 'number' and reply or 0
end

local thread = KEYS[1]
local newest = redis.pcall('ZREVRANGE', thread .. ':tasks', 0, 0)
local task_id = newest and newest[1] or false
local base = task_id and (ARGV[1] .. ':' .. task_id) or thread

local updates = number('LLEN', base .. ':updates')
local updates_bytes = number('MEMORY', 'USAGE', base .. ':updates')
if updates > 0 and updates_bytes == 0 then
  -- Who may not ask for it supposes that all are like the newest.
  local update = redis.pcall('LINDEX', base .. ':updates', task_id and -1 or 0)
  updates_bytes = type(update) == 'string' and updates * #update or 0
end

return {
  task_id,
  updates_bytes,
  updates,
  number('STRLEN', base .. ':result'),
  number('STRLEN', base .. ':error'),
  number('MEMORY', 'USAGE', thread .. ':metadata') + number('MEMORY', 'USAGE', thread .. ':context')
    + (task_id and number('MEMORY', 'USAGE', base .. ':metadata') or 0),
  number('EXISTS', base .. ':status'),
  number('EXISTS', thread .. ':metadata'),
}
