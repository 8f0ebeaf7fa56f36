-- What wrk counted, as one JSON line. Nothing is called per request.

-- `wrk ... -- N` sends a body of N bytes with each request.
init = function(arguments)
    if arguments[1] then
        wrk.method, wrk.body = "POST", string.rep("x", tonumber(arguments[1]))
    end
end

done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"microseconds":%d,"bytes":%d,"refused":%d,"broken":%d,"p99":%d}\n',
        summary.requests, summary.duration, summary.bytes, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(99)))
end
