local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if info.err then return not info.err:find('no such key', 1, true) and info end
return (numbers(info))
