// A PHY at its RGMII pins and the line behind it, both directions.
//
// Python gives and takes chunks of up to 128 octets of the line (preamble, frame, FCS), so it acts
// once a frame and not once a nibble. `push`, `pop` and `stamp_pop` are levels: each flip is one.
//
// Ref: RGMII 2.0 §3 (both edges, in-band status); the PHY delays both clocks (RGMII-ID): what is
// received changes 2 ns before its clock's edge, what is sent is looked at 2 ns behind it.
`timescale 1ps/1ps

module phy (
  input clk,       // 250 MHz of the partner: a nibble a period
  input clk_line,  // 250 MHz of the board; the middle of a nibble is where it falls
  output reg rx_clk,
  output reg [3:0] rx_data,
  output reg rx_ctl,
  input tx_clk,
  input [3:0] tx_data,
  input tx_ctl,

  input stopped,        // no clock
  input loop,           // what is sent comes back, and nothing else (both clocks of 250 MHz alike)
  input [6:0] delay,    // of the board's receive pins, steps of 25 ps
  input [14:0] eye,     // {there is one 1, last step within it 7, first 7}
  input cut,            // no carrier: what is played meanwhile is lost
  input [3:0] status,   // in-band: link, speed, duplex
  input push,
  input [1056:0] chunk,  // {idle octets before it 16, octet with RX_ER 8 (255: none), last 1, octets 8, data}
  input stamp_pop,
  output [63:0] stamp,  // ps: first nibble of a frame at the pins
  input pop,
  output [1121:0] taken,  // {idle octets before it 16, begin 64 (ps), octet with TX_ER 8, first 1, last 1, octets 8, data}
  // {a chunk was not there in time or too much was left lying 1, the clock's pin does not follow the
  // line's 1, nothing to play 1, room for a chunk 1, stamp there 1, taken there 1}
  output [5:0] flags
);
  reg starved, broken, lost;
  wire free, idle, stamp_valid, taken_valid;
  assign flags = {starved | lost, broken, idle, free, stamp_valid, taken_valid};
  localparam DEPTH = 64;
  reg [1056:0] queue [0:DEPTH-1];
  reg [5:0] in = 0, out = 0;
  reg pushed = 0;
  reg half = 0;
  reg [15:0] idled = 0;
  reg [6:0] n = 0;
  reg in_frame = 0;
  reg [3:0] high = 0;
  reg high_ctl = 0;

  wire [1056:0] head = queue[out];
  wire [7:0] octets = head[1031:1024];
  wire last = head[1032];
  wire [7:0] error_at = head[1040:1033];
  wire [15:0] gap = head[1056:1041];
  wire there = in != out;
  reg [7:0] looped = 0;
  reg looped_dv = 0, looped_er = 0;
  wire [7:0] octet = head[{n, 3'b000} +: 8];
  wire erred = error_at == {1'b0, n};
  wire clear = eye[14] & (delay >= eye[6:0]) & (delay <= eye[13:7]);
  wire [3:0] noise = clear ? 4'h0 : {delay[0] ^ head[3], ~delay[0], 2'b01};
  wire playing = there & (idled == gap);
  assign free = 6'(in - out) < DEPTH - 2;
  assign idle = ~there;

  reg [63:0] stamps [0:DEPTH-1];
  reg [5:0] stamp_in = 0, stamp_out = 0;
  reg stamp_popped = 0;
  assign stamp_valid = stamp_in != stamp_out;
  assign stamp = stamps[stamp_out];

  initial {rx_clk, rx_data, rx_ctl, starved, broken, lost} = 0;

  always @(negedge clk) rx_clk <= half & ~stopped;

  always @(posedge clk) begin
    half <= ~half;
    pushed <= push;
    if (push != pushed) begin
      queue[in] <= chunk;
      in <= in + 1;
    end
    stamp_popped <= stamp_pop;
    if (stamp_pop != stamp_popped) stamp_out <= stamp_out + 1;
    if (half) begin
      rx_data <= high;
      rx_ctl <= high_ctl;
    end else begin
      {rx_data, rx_ctl} <= {status, 1'b0};
      {high, high_ctl} <= {status, 1'b0};
      if (loop & looped_dv) begin
        {rx_data, rx_ctl} <= {looped[3:0] ^ noise, 1'b1};
        {high, high_ctl} <= {looped[7:4], ~looped_er};
      end
      if (playing) begin
        if (~cut & ~loop) begin
          {rx_data, rx_ctl} <= {octet[3:0] ^ noise, 1'b1};
          {high, high_ctl} <= {octet[7:4], ~erred};
        end
        if (n == 0 && gap != 0) begin
          stamps[stamp_in] <= $time;
          stamp_in <= stamp_in + 1;
        end
        n <= n + 1;
        in_frame <= 1;
        if (n == octets - 1) begin
          n <= 0;
          idled <= 0;
          out <= out + 1;
          in_frame <= ~last;
        end
      end else if (there) idled <= idled + 1;
      else if (in_frame) starved <= 1;
    end
  end

  // What the board sends.
  reg [1121:0] given [0:DEPTH-1];
  reg [5:0] given_in = 0, given_out = 0;
  reg popped = 0;
  assign taken_valid = given_in != given_out;
  assign taken = given[given_out];

  reg [1023:0] data = 0;
  reg [6:0] at = 0;
  reg [7:0] er_at = 255;
  reg [63:0] begin_ps = 0;
  reg [15:0] quiet = 0, gap_before = 0;
  reg opened = 0, first = 1;
  reg [3:0] low = 0;
  reg dv = 0;
  reg was = 0;
  reg [7:0] ticks = 0;
  wire [7:0] now = {tx_data, low};
  wire er = dv ^ tx_ctl;

  // One octet is kept back: only the next tells whether it is the last.
  reg held = 0;
  reg [7:0] held_octet = 0;
  reg held_er = 0;
  wire full = at == 127;

  always @(negedge clk_line) begin
    was <= tx_clk;
    if (ticks != 255) ticks <= ticks + 1;
    if (ticks == 255 && was == tx_clk) broken <= 1;
    popped <= pop;
    if (pop != popped) given_out <= given_out + 1;
    if (tx_clk) begin
      low <= tx_data;
      dv <= tx_ctl;
    end else begin
      {looped, looped_dv, looped_er} <= {now, dv, er};
      if (dv) begin
        held <= 1;
        held_octet <= now;
        held_er <= er;
        quiet <= 0;
        if (~opened) begin
          opened <= 1;
          begin_ps <= $time;
          gap_before <= quiet;
        end
      end else begin
        held <= 0;
        opened <= 0;
        if (quiet != 16'hFFFF) quiet <= quiet + 1;
      end
      if (held) begin
        data[{at, 3'b000} +: 8] <= held_octet;
        at <= at + 1;
        if (held_er && er_at == 255) er_at <= {1'b0, at};
        if (full | ~dv) begin
          given[given_in] <= {gap_before, begin_ps, (held_er && er_at == 255) ? {1'b0, at} : er_at, first, ~dv, 8'(at) + 8'd1, data & ~(1024'hFF << {at, 3'b000}) | 1024'(held_octet) << {at, 3'b000}};
          given_in <= given_in + 1;
          if (6'(given_in + 6'd1) == given_out) lost <= 1;
          at <= 0;
          er_at <= 255;
          first <= ~dv;
        end
      end
    end
  end
endmodule
