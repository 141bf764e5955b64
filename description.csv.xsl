<?xml version="1.0" encoding="UTF-8"?>
<!--
  The columns of cfind-output.csv in the CFIND-DETAILED mode, in this order. To add one, copy a "column" line and set
  the tag of the attribute: the query asks for it and the header line names it by itself. The stylesheet also works
  with the option -x of DCM4CHE's findscu.
-->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output method="text" encoding="UTF-8"/>

  <xsl:template match="/NativeDicomModel">
    <xsl:text>"</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00100020']"/> <!-- PatientID -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='0020000D']"/> <!-- StudyInstanceUID -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00080050']"/> <!-- AccessionNumber -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00081030']"/> <!-- StudyDescription -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00080020']"/> <!-- StudyDate -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00080030']"/> <!-- StudyTime -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00080061']"/> <!-- ModalitiesInStudy -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00181030']"/> <!-- ProtocolName -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00181000']"/> <!-- DeviceSerialNumber -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00400254']"/> <!-- PerformedProcedureStepDescription -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00201206']"/> <!-- NumberOfStudyRelatedSeries -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00201208']"/> <!-- NumberOfStudyRelatedInstances -->
    <xsl:text>","</xsl:text>
    <xsl:apply-templates select="DicomAttribute[@tag='00080022']"/> <!-- AcquisitionDate -->
    <xsl:text>"&#10;</xsl:text>
  </xsl:template>

  <xsl:template match="DicomAttribute">
    <xsl:apply-templates select="Value | PersonName"/>
  </xsl:template>

  <xsl:template match="Value">
    <xsl:if test="@number != 1">\</xsl:if>
    <xsl:call-template name="quoted">
      <xsl:with-param name="text" select="string(.)"/>
    </xsl:call-template>
  </xsl:template>

  <xsl:template match="PersonName">
    <xsl:if test="@number != 1">\</xsl:if>
    <xsl:for-each select="Alphabetic/*">
      <xsl:if test="position() != 1">^</xsl:if>
      <xsl:call-template name="quoted">
        <xsl:with-param name="text" select="string(.)"/>
      </xsl:call-template>
    </xsl:for-each>
  </xsl:template>

  <!-- A quotation mark inside a CSV field is written twice. -->
  <xsl:template name="quoted">
    <xsl:param name="text"/>
    <xsl:choose>
      <xsl:when test="contains($text, '&quot;')">
        <xsl:value-of select="substring-before($text, '&quot;')"/>
        <xsl:text>""</xsl:text>
        <xsl:call-template name="quoted">
          <xsl:with-param name="text" select="substring-after($text, '&quot;')"/>
        </xsl:call-template>
      </xsl:when>
      <xsl:otherwise>
        <xsl:value-of select="$text"/>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>
</xsl:stylesheet>
