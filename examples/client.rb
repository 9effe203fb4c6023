# frozen_string_literal: true

# A client for the classic protocol, with the gems of Peatio's own sample. It prints the member's orders and trades, one
# line of JSON per frame. It shows how to create a session token like Barong's, answer the challenge with it, and
# reconnect with pauses that a restarting gateway can handle. With `make run`:
#
#   gem install jwt websocket-client-simple
#   JWT_PRIVATE_KEY="$(cat .run/private.pem)" MEMBER_ID=1001 ruby examples/client.rb ws://127.0.0.1:8080/ IDDEMO000001
#
# URL and UID can also be set in the environment. JWT_ALGORITHM (RS256, ES256, ...; EdDSA needs one more gem, see jwt's
# manual), JWT_ISSUER and JWT_AUDIENCE have to match the gateway's. MEMBER_ID is the member's number in Peatio, for
# publishers that name members by number only, like the simulated exchange.

require "json"
require "jwt"
require "openssl"
require "securerandom"
require "timeout"
require "websocket-client-simple"

WAIT = 10 # seconds for the challenge and for the answer to the token
SILENCE = 60 # the gateway pings every 25 s; the gem does not report every lost connection
STEADY = 60 # after a connection of this many seconds, the pauses start again from the shortest
LONGEST_PAUSE = 30
NO_RETURN = [1002, 1003, 1007, 1009].to_h { |code| [code, "reconnecting would fail again"] }.merge(
  4401 => "the token has expired",
  4403 => "an operator has ended the session"
)

# The gem websocket (1.2.9) treats the close codes 1012 and 1013 as errors: they were registered after RFC 6455.
WebSocket::Frame::Handler::Handler07.prepend(
  Module.new do
    private def valid_code?(code)
      [1012, 1013].include?(code) || super
    end
  end
)
WebSocket.should_raise = true # raise errors for invalid frames instead of ignoring them

def token(uid)
  key = ENV.fetch("JWT_PRIVATE_KEY")
  key = key.tr("-_", "+/").unpack1("m") unless key.include?("-----BEGIN")
  now = Time.now.to_i
  claims = {
    iat: now,
    exp: now + 3600,
    jti: SecureRandom.uuid,
    sub: "session",
    iss: ENV.fetch("JWT_ISSUER", "barong"),
    aud: ENV.fetch("JWT_AUDIENCE", "peatio,barong").split(","),
    uid: uid,
    role: "member",
    state: "active"
  }
  claims[:member_id] = Integer(ENV["MEMBER_ID"]) if ENV["MEMBER_ID"]
  JWT.encode(claims, OpenSSL::PKey.read(key), ENV.fetch("JWT_ALGORITHM", "RS256"))
end

# Serve one connection. Return the close code and the reason, or 1006 without a close frame.
def session(url, uid)
  inbox = Queue.new # the gem's thread fills it
  gateway = WebSocket::Client::Simple.connect(url) do |client|
    client.on(:message) { |frame| inbox << frame }
    client.on(:error) { |error| inbox << error }
    client.on(:close) { |error| inbox << (error || EOFError.new("connection lost")) }
  end
  state = :connecting
  loop do
    frame = Timeout.timeout(state == :member ? SILENCE : WAIT) { inbox.pop }
    raise frame if frame.is_a?(Exception)

    case frame.type
    when :ping then gateway.send(frame.data, type: :pong) # otherwise the gateway closes the connection
    when :close then return [frame.code || 1005, frame.data.to_s]
    when :text
      puts frame.data
      state = answer(gateway, state, frame.data, uid)
    end
  end
rescue Timeout::Error, SystemCallError, SocketError, IOError, OpenSSL::SSL::SSLError, WebSocket::Error => e
  [1006, e.message.to_s]
ensure
  hang_up(gateway)
end

# Handle a text frame. Return the next state.
def answer(gateway, state, text, uid)
  case state
  when :connecting # the frame is the challenge
    gateway.send(JSON.generate(jwt: "Bearer #{token(uid)}"))
    :asked
  when :asked
    abort "the gateway refuses this token" unless JSON.parse(text).key?("success")
    :member
  else
    state
  end
end

def hang_up(gateway)
  gateway&.close
rescue SystemCallError, IOError, OpenSSL::SSL::SSLError
  # It is already closed.
end

def follow(url, uid)
  failures = 0
  loop do
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    code, reason = session(url, uid)
    abort "closed: #{code} #{reason}; #{NO_RETURN[code]}" if NO_RETURN.key?(code)

    held = Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
    failures = held > STEADY ? 0 : failures + 1
    # Before a restart (1012) the gateway sends each client a delay; jitter spreads clients with the same delay, or none.
    pause = reason[/retry after (\d+)/, 1].to_i + rand(0.5..1.0) * [LONGEST_PAUSE, 2**failures].min
    warn format("closed: %d %s; back in %.1f s", code, reason, pause)
    sleep pause
  end
end

begin
  $stdout.sync = true
  url, uid = ARGV
  follow(url || ENV.fetch("URL", "ws://127.0.0.1:8080/"), uid || ENV.fetch("UID", "IDDEMO000001"))
rescue Interrupt
  exit
end
