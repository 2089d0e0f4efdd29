-- Sends one request per line of a file. A line is the path of a GET or the body of a POST.
-- Arguments: method, path (for POST), file, API key (optional). At the end it prints one line of JSON for
-- benchmarks/load/wrk.py.

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    method = args[1]
    path = args[2]
    input = assert(io.open(args[3]))
    host = "Host: localhost\r\n"
    if args[4] then
        host = host .. "Authorization: Bearer " .. args[4] .. "\r\n"
    end
    wrapped = 0
end

function request()
    local line = input:read("*l")
    if line == nil then
        wrapped = 1
        input:seek("set")
        line = input:read("*l")
    end
    if method == "GET" then
        return "GET " .. line .. " HTTP/1.1\r\n" .. host .. "\r\n"
    end
    return method .. " " .. path .. " HTTP/1.1\r\n" .. host .. "Content-Type: application/json\r\n"
        .. "Content-Length: " .. #line .. "\r\n\r\n" .. line
end

function done(summary, latency, requests)
    local wraps = 0
    for _, thread in ipairs(threads) do
        wraps = wraps + thread:get("wrapped")
    end
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"failed":%d,"wrapped":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout, wraps))
end
