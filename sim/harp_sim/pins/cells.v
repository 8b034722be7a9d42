// Cells of an ECP5 that stand at the pins of a board's top.
//
// Ref: Lattice ECP5 and ECP5-5G sysI/O usage guide, high-speed I/O interface (IDDRX1F, ODDRX1F),
// sysCLOCK PLL design and usage guide (EHXPLLL). Not modelled: propagation delays.

module IB (input I, output O);
  assign O = I;
endmodule

module OBZ (input I, input T, output O);
  assign O = T ? 1'bz : I;
endmodule

module BB (input I, input T, output O, inout B);
  assign B = T ? 1'bz : I;
  assign O = B;
endmodule

// Both edges of one clock come out together with the next rising edge.
module IDDRX1F (input D, input SCLK, input RST, output reg Q0, output reg Q1);
  reg rising = 0, falling = 0;
  initial {Q0, Q1} = 0;
  always @(posedge SCLK) begin
    rising <= D;
    Q0 <= rising;
    Q1 <= falling;
  end
  always @(negedge SCLK) falling <= D;
endmodule

// Two clocks from D0 and D1 to the pin; D0 while the clock is high.
module ODDRX1F (input D0, input D1, input SCLK, input RST, output Q);
  reg [1:0] first = 0, second = 0;
  always @(posedge SCLK) begin
    first <= {D1, D0};
    second <= first;
  end
  assign Q = SCLK ? second[0] : second[1];
endmodule

module FD1S3AX (input D, input CK, output reg Q);
  initial Q = 0;
  always @(posedge CK) Q <= D;
endmodule

module OFS1P3DX (input D, input SP, input SCLK, input CD, output reg Q);
  initial Q = 0;
  always @(posedge SCLK) if (CD) Q <= 0; else if (SP) Q <= D;
endmodule

// Delays nothing here; `phy.v` looks at `steps` of 25 ps, and what that does to the eye.
module DELAYF (input A, input LOADN, input MOVE, input DIRECTION, output Z, output CFLAG);
  parameter DEL_MODE = "USER_DEFINED", DEL_VALUE = 0;
  reg [6:0] steps = DEL_VALUE;
  assign CFLAG = steps == 127;
  assign Z = A;
  always @(negedge MOVE, negedge LOADN)
    if (~LOADN) steps <= DEL_VALUE;
    else if (~CFLAG) steps <= steps + 1;
endmodule

// The bench makes the clocks: that of the line from one twice as fast, which tells where the middle
// of a nibble is.
module EHXPLLL (
  input CLKI, CLKFB, PHASESEL1, PHASESEL0, PHASEDIR, PHASESTEP, PHASELOADREG,
  input STDBY, PLLWAKESYNC, RST, ENCLKOP, ENCLKOS,
  output CLKOP, CLKOS, LOCK
);
  parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 1, CLKOS_DIV = 1;
  parameter CLKOP_CPHASE = 0, CLKOP_FPHASE = 0, CLKOS_CPHASE = 0, CLKOS_FPHASE = 0;
  parameter CLKOP_ENABLE = "", CLKOS_ENABLE = "", FEEDBK_PATH = "";
  reg line = 0;
  always @(posedge bench.clk_line) line <= ~line;
  assign CLKOP = line;
  assign CLKOS = bench.clk_core;
  assign LOCK = bench.lock;
endmodule
