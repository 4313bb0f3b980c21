-- A row of the list of tasks: what it shows of one task, and no more. Reads only.
--
-- KEYS[1]  the thread's keys without their last part: {prefix}:thread:{thread_id}
-- ARGV[1]  the tasks' keys without their last parts: {prefix}:task
-- ARGV[2]  at most that many of the newest updates
-- ARGV[3]  no more updates once there are so many bytes
-- ARGV[4]  the longest text that is shown, in bytes; an update that is longer comes without the rest,
--          and one with very many values without anything
--
-- Answers {task id, status, updates (newest first), metadata, the task's metadata}, or nil where
-- there is no state.

local TEXT_MAX = tonumber(ARGV[4])
local VALUES_MAX = 4000 -- that an update may have to be looked into

-- The beginning of a long text, up to the end of a character.
local function cut(text)
  if #text <= TEXT_MAX then return text end
  local length = TEXT_MAX
  while length > 0 and math.floor(string.byte(text, length + 1) / 64) == 2 do
    length = length - 1
  end
  return string.sub(text, 1, length)
end

-- Whether to look into an update would take Redis too long.
local function has_very_many_values(update)
  local at = 0
  for _ = 1, VALUES_MAX do
    at = update:find(',', at + 1, true)
    if not at then return false end
  end
  return true
end

-- What is shown of an update.
local function shown(update)
  if #update <= TEXT_MAX then return update end
  if has_very_many_values(update) then return '{}' end
  local decoded, members = pcall(cjson.decode, update)
  if not decoded or type(members) ~= 'table' then return '{}' end
  local all = type(members.metadata) == 'table' and members.metadata or {}
  local metadata = {}
  for _, name in ipairs({ 'progress', 'step', 'total_steps' }) do
    if type(all[name]) == 'number' then metadata[name] = all[name] end
  end
  local message = type(members.message) == 'string' and cut(members.message) or nil
  local encoded, text = pcall(cjson.encode, { message = message, metadata = metadata })
  return encoded and text or '{}'
end

local function updates(key, newest_first)
  local found, bytes = {}, 0
  for at = 1, tonumber(ARGV[2]) do
    local update = read('LINDEX', key, newest_first and at - 1 or -at)
    if not update then break end
    found[at] = shown(update)
    bytes = bytes + #update
    if bytes > tonumber(ARGV[3]) then break end
  end
  return found
end

local function metadata(key)
  local names = { 'created_at', 'subject' }
  local values = read('HMGET', key, unpack(names)) or {}
  local pairs_read = {}
  for i, name in ipairs(names) do
    if values[i] then
      pairs_read[#pairs_read + 1] = name
      pairs_read[#pairs_read + 1] = cut(values[i])
    end
  end
  return pairs_read
end

local function row()
  local thread = KEYS[1]
  local task_id, base = newest_task(thread)
  local status = read('GETRANGE', base .. ':status', 0, TEXT_MAX - 1)
  if status == '' and read('EXISTS', base .. ':status') == 0 then status = false end
  if is_none(thread, task_id, status) then return false end
  return {
    task_id,
    status,
    updates(base .. ':updates', not task_id),
    metadata(thread .. ':metadata'),
    task_id and metadata(base .. ':metadata') or {},
  }
end

return answer(row)
