-- What a stream tells of itself, out of an answer to XINFO STREAM, and its last entry.
local function numbers(info)
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
  }, last
end

