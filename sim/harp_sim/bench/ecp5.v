// Cells of an ECP5 of which yosys has only an empty box, in the modes that it uses.

// Block RAM.
//
// 18,432 bits as 1,024 rows of 18. Widths 1 to 18: two ports that read or write; 36: port A writes
// and port B reads two rows at once, the second through the other port's pins. Bit 9 of 18 and the
// bits of widths below 9 lie as `brams_map_16kd.v` of yosys says. Not modelled: chip selects,
// asynchronous resets. A row that one port writes while the other reads it gives its
// old content.
module DP16KD (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED";
  parameter [319:0] INITVAL_00 = 320'b0, INITVAL_01 = 320'b0;
  parameter [319:0] INITVAL_02 = 320'b0, INITVAL_03 = 320'b0;
  parameter [319:0] INITVAL_04 = 320'b0, INITVAL_05 = 320'b0;
  parameter [319:0] INITVAL_06 = 320'b0, INITVAL_07 = 320'b0;
  parameter [319:0] INITVAL_08 = 320'b0, INITVAL_09 = 320'b0;
  parameter [319:0] INITVAL_0A = 320'b0, INITVAL_0B = 320'b0;
  parameter [319:0] INITVAL_0C = 320'b0, INITVAL_0D = 320'b0;
  parameter [319:0] INITVAL_0E = 320'b0, INITVAL_0F = 320'b0;
  parameter [319:0] INITVAL_10 = 320'b0, INITVAL_11 = 320'b0;
  parameter [319:0] INITVAL_12 = 320'b0, INITVAL_13 = 320'b0;
  parameter [319:0] INITVAL_14 = 320'b0, INITVAL_15 = 320'b0;
  parameter [319:0] INITVAL_16 = 320'b0, INITVAL_17 = 320'b0;
  parameter [319:0] INITVAL_18 = 320'b0, INITVAL_19 = 320'b0;
  parameter [319:0] INITVAL_1A = 320'b0, INITVAL_1B = 320'b0;
  parameter [319:0] INITVAL_1C = 320'b0, INITVAL_1D = 320'b0;
  parameter [319:0] INITVAL_1E = 320'b0, INITVAL_1F = 320'b0;
  parameter [319:0] INITVAL_20 = 320'b0, INITVAL_21 = 320'b0;
  parameter [319:0] INITVAL_22 = 320'b0, INITVAL_23 = 320'b0;
  parameter [319:0] INITVAL_24 = 320'b0, INITVAL_25 = 320'b0;
  parameter [319:0] INITVAL_26 = 320'b0, INITVAL_27 = 320'b0;
  parameter [319:0] INITVAL_28 = 320'b0, INITVAL_29 = 320'b0;
  parameter [319:0] INITVAL_2A = 320'b0, INITVAL_2B = 320'b0;
  parameter [319:0] INITVAL_2C = 320'b0, INITVAL_2D = 320'b0;
  parameter [319:0] INITVAL_2E = 320'b0, INITVAL_2F = 320'b0;
  parameter [319:0] INITVAL_30 = 320'b0, INITVAL_31 = 320'b0;
  parameter [319:0] INITVAL_32 = 320'b0, INITVAL_33 = 320'b0;
  parameter [319:0] INITVAL_34 = 320'b0, INITVAL_35 = 320'b0;
  parameter [319:0] INITVAL_36 = 320'b0, INITVAL_37 = 320'b0;
  parameter [319:0] INITVAL_38 = 320'b0, INITVAL_39 = 320'b0;
  parameter [319:0] INITVAL_3A = 320'b0, INITVAL_3B = 320'b0;
  parameter [319:0] INITVAL_3C = 320'b0, INITVAL_3D = 320'b0;
  parameter [319:0] INITVAL_3E = 320'b0, INITVAL_3F = 320'b0;

  reg [17:0] rows [0:1023];
  wire [64*320-1:0] chunks = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C,
    INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34,
    INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C,
    INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
    INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
    INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14,
    INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C,
    INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04,
    INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
  };
  integer n;
  initial for (n = 0; n < 1024; n = n + 1) rows[n] = chunks[n * 20 +: 18];

  // First bit within its row.
  function [4:0] at(input [3:0] low, input integer width);
    at = width >= 18 ? 0
      : 9 * low[3] + (width == 4 ? 4 * low[2] : width == 2 ? 2 * low[2:1] : width == 1 ? low[2:0] : 0);
  endfunction

  function [17:0] kept(input integer width);
    kept = width >= 18 ? 18'h3FFFF : (1 << width) - 1;
  endfunction

  // A row after a write: two enables of 9 bits where the row is written whole.
  function [17:0] written(
    input [17:0] row, input [17:0] data, input [3:0] low, input [1:0] enables, input integer width
  );
    reg [17:0] mask;
    begin
      mask = width >= 18 ? {{9{enables[1]}}, {9{enables[0]}}} : kept(width) << at(low, width);
      written = row & ~mask | (data << at(low, width)) & mask;
    end
  endfunction

  wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire clka = CLKAMUX == "INV" ? ~CLKA : CLKA;
  wire clkb = CLKBMUX == "INV" ? ~CLKB : CLKB;
  reg [17:0] a = 0, b = 0, low_b = 0;
  reg [17:0] out_a = 0, out_b = 0, out_low_b = 0;  // the registers of OUTREG
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B != 36 ? (REGMODE_A == "OUTREG" ? out_a : a) : REGMODE_B == "OUTREG" ? out_low_b : low_b;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = REGMODE_B == "OUTREG" ? out_b : b;

  wire [17:0] row_a = rows[ada[13:4]], row_b = rows[adb[13:4]];
  wire [17:0] next_a = written(row_a, dia, ada[3:0], ada[1:0], DATA_WIDTH_A);
  wire [17:0] next_b = written(row_b, dib, adb[3:0], adb[1:0], DATA_WIDTH_B);

  always @(posedge clka) begin
    if (CEA && WEA && !RSTA) begin
      if (DATA_WIDTH_A == 36) begin
        rows[{ada[13:5], 1'b0}] <= written(rows[{ada[13:5], 1'b0}], dia, 0, ada[1:0], 18);
        rows[{ada[13:5], 1'b1}] <= written(rows[{ada[13:5], 1'b1}], dib, 0, ada[3:2], 18);
      end else rows[ada[13:4]] <= next_a;
    end
    if (RSTA) a <= 0;
    else if (CEA && (!WEA || WRITEMODE_A != "NORMAL"))
      a <= ((WEA && WRITEMODE_A == "WRITETHROUGH" ? next_a : row_a) >> at(ada[3:0], DATA_WIDTH_A))
        & kept(DATA_WIDTH_A);
  end

  always @(posedge clkb) begin
    if (CEB && WEB && !RSTB && DATA_WIDTH_B != 36) rows[adb[13:4]] <= next_b;
    if (RSTB) {b, low_b} <= 0;
    else if (CEB && (!WEB || WRITEMODE_B != "NORMAL")) begin
      low_b <= rows[{adb[13:5], 1'b0}];
      if (DATA_WIDTH_B == 36) b <= rows[{adb[13:5], 1'b1}];
      else
        b <= ((WEB && WRITEMODE_B == "WRITETHROUGH" ? next_b : row_b) >> at(adb[3:0], DATA_WIDTH_B))
          & kept(DATA_WIDTH_B);
    end
  end

  always @(posedge clka) if (RSTA) out_a <= 0; else if (OCEA) out_a <= a;
  always @(posedge clkb)
    if (RSTB) {out_b, out_low_b} <= 0; else if (OCEB) {out_b, out_low_b} <= {b, low_b};

  // Where there is no reset at all yosys says ASYNC.
  always @* if (RESETMODE == "ASYNC" && (RSTA || RSTB))
    $fatal(1, "DP16KD: a reset that is not modelled");
endmodule

// The multiplier without registers and cascades, as yosys uses it.
module MULT18X18D (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_OUTPUT_CLK = "NONE";
  wire [35:0] a = {{18{SIGNEDA & A17}}, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [35:0] b = {{18{SIGNEDB & B17}}, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = a * b;
endmodule
