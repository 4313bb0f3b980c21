-- Which of the commands that every task needs the user may not run. Reads only; the keys are of a
-- task that there is not.
--
-- ARGV[1]  the stream's key
-- ARGV[2]  any other key of the task; both are arguments, as a key that the user may not touch
--          would keep the script from being run
--
-- Answers a list of errors, each with its command behind it.

local missing = {}

local function try(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return end
  if reply.err:find('WRONGTYPE', 1, true) or reply.err:find('no such key', 1, true) then return end
  missing[#missing + 1] = reply.err .. ' (' .. ... .. ')'
end

local stream, key = ARGV[1], ARGV[2]
try('TIME')
try('XREAD', 'COUNT', 1, 'STREAMS', stream, '0')
try('XINFO', 'STREAM', stream)
try('XLEN', stream)
try('XRANGE', stream, '-', '+', 'COUNT', 1)
try('XREVRANGE', stream, '+', '-', 'COUNT', 1)
try('GET', key)
try('STRLEN', key)
try('EXISTS', key)
try('LRANGE', key, 0, 0)
try('LLEN', key)
try('HLEN', key)
try('HGETALL', key)
try('ZREVRANGE', key, 0, 0)
return missing
