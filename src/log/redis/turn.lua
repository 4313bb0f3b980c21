-- Which of a thread's tasks is its turn: the newest one that is no child of another (protocol §2.1).

local TASKS_MAX = 50      -- so many of the newest are looked at
local PARSED_MAX = 65536  -- a longer text is searched, not parsed
local LISTING_MAX = 32    -- of a task that may have children: so many of the first and of the last updates,
local PARENTS_MAX = 8     -- and of so many tasks
local ENDED = { done = true, completed = true, failed = true, cancelled = true }

local function decoded(text)
  local fits, value = pcall(cjson.decode, text)
  return fits and type(value) == 'table' and value or {}
end

-- The parent that a text names: an update in its metadata, a result by itself.
local function parent_in(text, is_update)
  if not text or not text:find('parent_task_id', 1, true) then return nil end
  local parent
  if #text > PARSED_MAX then
    parent = text:match('"parent_task_id"%s*:%s*"([^"\\]+)"')
  else
    local value = decoded(text)
    if is_update then value = value.metadata end
    parent = type(value) == 'table' and value.parent_task_id
  end
  return type(parent) == 'string' and parent ~= '' and parent or nil
end

-- Whether an update lists a task among its children.
local function lists(update, task_id)
  if not update:find(task_id, 1, true) or not update:find('child_task_ids', 1, true) then
    return false
  end
  if #update > PARSED_MAX then return true end
  local metadata = decoded(update).metadata
  local children = type(metadata) == 'table' and metadata.child_task_ids
  if type(children) ~= 'table' then return false end
  for _, child in ipairs(children) do
    if child == task_id then return true end
  end
  return false
end

-- The thread's turn; false where it has no task. `read` answers false where something is not there or of
-- another type; `tasks` is what the names of the tasks' keys begin with.
local function turn_of(read, thread, tasks)
  local members = read('ZREVRANGE', thread .. ':tasks', 0, TASKS_MAX - 1) or {}
  if #members < 2 then return members[1] or false end
  local key = function(task_id, part) return tasks .. ':' .. task_id .. ':' .. part end
  local seen = {}

  -- What a task's own keys say: its first update, and whose child it is.
  local function look_at(task_id)
    if not seen[task_id] then
      local first = read('LINDEX', key(task_id, 'updates'), 0)
      local parent = parent_in(first, true)
      if not parent then
        parent = parent_in(read('GETRANGE', key(task_id, 'result'), 0, PARSED_MAX - 1), false)
      end
      seen[task_id] = { first = first, parent = parent }
    end
    return seen[task_id]
  end

  local function is_listed(at)
    local looked_at = 0
    for older = at + 1, #members do
      local own = look_at(members[older])
      if own.first and not own.parent then
        local updates = key(members[older], 'updates')
        for _, from in ipairs({ 0, -LISTING_MAX }) do
          for _, update in ipairs(read('LRANGE', updates, from, from + LISTING_MAX - 1) or {}) do
            if lists(update, members[at]) then return true end
          end
        end
        looked_at = looked_at + 1
        if looked_at == PARENTS_MAX then break end
      end
    end
    return false
  end

  local function newest_from(at)
    local task_id = members[at]
    if not task_id then return false end
    if look_at(task_id).parent or is_listed(at) then return newest_from(at + 1) end
    if look_at(task_id).first then return task_id end
    -- A child is in the list before anything says that it is one.
    local present = newest_from(at + 1)
    if present and not ENDED[read('GET', key(present, 'status')) or ''] then return present end
    return task_id
  end

  -- Where all of them are children, their parent is older than that.
  return newest_from(1) or look_at(members[1]).parent or members[1]
end

