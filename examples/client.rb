# frozen_string_literal: true

# A client for the classic protocol, with the gems jwt and websocket. It prints the member's orders and trades, one line
# of JSON per frame. It shows how to create a session token like Barong's, answer the challenge with it, and reconnect
# with pauses that a restarting gateway can handle. As root on Debian, or anywhere with `gem install jwt websocket`:
#
#     apt-get install ruby ruby-jwt ruby-websocket
#
# With `make run`:
#
#     JWT_PRIVATE_KEY="$(cat .run/private.pem)" MEMBER_ID=1001 ruby examples/client.rb ws://127.0.0.1:8080/ IDDEMO000001
#
# URL and UID can also be set in the environment (UID with `env`, because it is read-only in bash). JWT_ALGORITHM (RS256,
# ES256, ...; EdDSA needs one more gem, see jwt's manual), JWT_ISSUER and JWT_AUDIENCE have to match the gateway's.
# MEMBER_ID is the member's number in Peatio, for an old Peatio that names members by number only.

require "io/wait"
require "json"
require "jwt"
require "openssl"
require "securerandom"
require "socket"
require "timeout"
require "uri"
require "websocket"

WAIT = 10 # seconds for the connection, the challenge and the answer to the token
SILENCE = 60 # the gateway pings every 25 s
STEADY = 60 # after a connection of this many seconds, the pauses start again from the shortest
LONGEST_PAUSE = 30
NO_RETURN = [1002, 1003, 1007, 1009]

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

# A connection to the gateway. The gem implements the protocol; this class reads and writes the socket.
class Connection
  def initialize(url)
    uri = URI(url)
    @socket = Socket.tcp(uri.host, uri.port, connect_timeout: WAIT)
    @socket = secured(uri.host) if uri.scheme == "wss"
    handshake = WebSocket::Handshake::Client.new(url: url)
    @socket.write(handshake.to_s)
    handshake << read(WAIT) until handshake.finished?
    @version = handshake.version
    @frames = WebSocket::Frame::Incoming::Client.new(version: @version)
    @frames << handshake.leftovers if handshake.leftovers
  rescue StandardError
    @socket&.close
    raise
  end

  # Return the next frame. Raise Timeout::Error if nothing arrives for this many seconds.
  def receive(seconds)
    frame = @frames.next
    until frame
      @frames << read(seconds)
      frame = @frames.next
    end
    frame
  end

  def say(data, type: :text)
    @socket.write(WebSocket::Frame::Outgoing::Client.new(version: @version, data: data, type: type).to_s)
  end

  def close
    say("", type: :close)
    @socket.close
  rescue SystemCallError, IOError, OpenSSL::SSL::SSLError
    # It is already closed.
  end

  private

  def secured(host)
    context = OpenSSL::SSL::SSLContext.new.tap(&:set_params) # verifies the certificate
    socket = OpenSSL::SSL::SSLSocket.new(@socket, context)
    socket.sync_close = true
    socket.hostname = host
    socket.connect
    socket
  end

  def read(seconds)
    loop do
      data = @socket.read_nonblock(65_536, exception: false)
      return data if data.is_a?(String)
      raise EOFError, "connection lost" if data.nil?
      raise Timeout::Error, "no sign of life" unless @socket.to_io.wait_readable(seconds)
    end
  end
end

# Serve one connection. Return the close code and the reason, or 1006 without a close frame.
def session(url, uid)
  gateway = Connection.new(url)
  state = :connecting
  loop do
    frame = gateway.receive(state == :member ? SILENCE : WAIT)
    case frame.type
    when :ping then gateway.say(frame.data, type: :pong) # otherwise the gateway closes the connection
    when :close then return [frame.code || 1005, frame.data.to_s]
    when :text then state = handle(gateway, state, frame.data, uid)
    end
  end
rescue Timeout::Error, SystemCallError, SocketError, IOError, OpenSSL::SSL::SSLError, WebSocket::Error => e
  [1006, e.message.to_s]
ensure
  gateway&.close
end

# Handle a text frame. Return the next state.
def handle(gateway, state, text, uid)
  case state
  when :connecting # the frame is the challenge
    gateway.say(JSON.generate(jwt: "Bearer #{token(uid)}"))
    :asked
  when :asked
    abort "the gateway refuses this token: #{text}" unless JSON.parse(text).key?("success")
    warn "connected"
    :member
  else
    show(text)
    state
  end
end

# Print a line. If the reader has closed the pipe, as `| head` does, exit.
def show(line)
  puts line
rescue Errno::EPIPE
  exit
end

def follow(url, uid)
  failures = 0
  loop do
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    code, reason = session(url, uid)
    abort "closed: #{code} #{reason}; giving up: reconnecting would fail again" if NO_RETURN.include?(code)

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
